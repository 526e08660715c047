from django.urls import path

from webapp.registry.api import HistoryView, ModelsView

urlpatterns = [
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:name>/history", HistoryView.as_view(), name="model-history"),
]

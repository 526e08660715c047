from django.urls import path

from webapp.scoring.api import ModelsView

urlpatterns = [path("models", ModelsView.as_view(), name="models")]

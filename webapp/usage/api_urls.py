from django.urls import path

from webapp.usage.api import FeedbackView, UseCsvView, UseView

urlpatterns = [
    path("feedback", FeedbackView.as_view(), name="feedback"),
    path("usage", UseView.as_view(), name="usage"),
    path("usage.csv", UseCsvView.as_view(), name="usage-csv"),
]

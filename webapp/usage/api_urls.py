from django.urls import path

from webapp.usage.api import FeedbackView

urlpatterns = [path("feedback", FeedbackView.as_view(), name="feedback")]

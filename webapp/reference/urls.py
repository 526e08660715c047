from django.urls import path

from webapp.reference.api import ScoreView

urlpatterns = [path("score", ScoreView.as_view(), name="score")]

from django.urls import path

from webapp.faq.api import MatchView

urlpatterns = [path("match", MatchView.as_view(), name="faq-match")]

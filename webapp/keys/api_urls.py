from django.urls import path

from webapp.keys.api import MeView

urlpatterns = [path("me", MeView.as_view(), name="me")]

from django.urls import path

from webapp.keys.api import MeView
from webapp.keys.listing import KeysView

urlpatterns = [path("me", MeView.as_view(), name="me"), path("keys", KeysView.as_view(), name="keys")]

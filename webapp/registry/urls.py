from django.urls import path

from webapp.registry import views

urlpatterns = [
    path("status", views.status, name="status"),
]

from django.urls import path

from webapp.images import views

app_name = "images"
urlpatterns = [path("", views.classify, name="classify")]

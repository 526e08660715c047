from django.urls import path

from webapp.accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.profile, name="profile"),
    path("delete", views.delete, name="delete"),
    path("second-factor", views.second_factor, name="second-factor"),
]

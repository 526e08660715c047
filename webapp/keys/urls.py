from django.urls import path

from webapp.keys import views

app_name = "keys"
urlpatterns = [
    path("", views.keys, name="list"),
    path("<int:key_id>/revoke", views.revoke, name="revoke"),
]

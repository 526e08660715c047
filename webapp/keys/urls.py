from django.urls import path

from webapp.keys import views

app_name = "keys"
urlpatterns = [
    path("", views.keys, name="list"),
    path("<int:key_id>/change", views.change, name="change"),
    path("<int:key_id>/rotate", views.rotate, name="rotate"),
    path("<int:key_id>/end-old", views.end_old, name="end-old"),
    path("<int:key_id>/revoke", views.revoke, name="revoke"),
]

from django.urls import path

from webapp.webhooks import views

app_name = "webhooks"
urlpatterns = [
    path("", views.webhooks, name="list"),
    path("<uuid:endpoint_id>/", views.endpoint, name="endpoint"),
    path("<uuid:endpoint_id>/edit", views.edit, name="edit"),
    path("<uuid:endpoint_id>/rotate", views.rotate, name="rotate"),
    path("<uuid:endpoint_id>/delete", views.delete, name="delete"),
    path("<uuid:endpoint_id>/enable", views.enable, name="enable"),
    path("<uuid:endpoint_id>/disable", views.disable, name="disable"),
    path("<uuid:endpoint_id>/test", views.test, name="test"),
    path("<uuid:endpoint_id>/deliveries/<uuid:delivery_id>/", views.delivery, name="delivery"),
    path("<uuid:endpoint_id>/deliveries/<uuid:delivery_id>/again", views.send_again, name="send-again"),
]

from django.urls import path

from webapp.webhooks import api

WEBHOOK = "webhooks/<uuid:webhook_id>"
DELIVERY = f"{WEBHOOK}/deliveries/<uuid:delivery_id>"
urlpatterns = [
    path("webhooks", api.WebhooksView.as_view(), name="webhooks"),
    path(WEBHOOK, api.WebhookView.as_view(), name="webhook"),
    path(f"{WEBHOOK}/rotate", api.RotateView.as_view(), name="webhook-rotate"),
    path(f"{WEBHOOK}/test", api.TestView.as_view(), name="webhook-test"),
    path(f"{WEBHOOK}/deliveries", api.DeliveriesView.as_view(), name="webhook-deliveries"),
    path(DELIVERY, api.DeliveryView.as_view(), name="webhook-delivery"),
    path(f"{DELIVERY}/redeliver", api.RedeliverView.as_view(), name="webhook-redeliver"),
]

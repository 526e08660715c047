"""The REST API, version 1. Each app brings its own part."""

from django.urls import include, path

app_name = "api"
urlpatterns = [
    path("", include("webapp.keys.api_urls")),
    path("", include("webapp.registry.api_urls")),
    path("", include("webapp.batch.api_urls")),
    path("", include("webapp.faq.api_urls")),
    path("", include("webapp.usage.api_urls")),
    path("", include("webapp.webhooks.api_urls")),
]

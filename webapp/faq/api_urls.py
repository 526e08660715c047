from django.urls import path

from webapp.faq import api

urlpatterns = [
    path("faq/collections", api.CollectionsView.as_view(), name="faq-collections"),
    path("faq/collections/<slug:slug>", api.CollectionView.as_view(), name="faq-collection"),
]

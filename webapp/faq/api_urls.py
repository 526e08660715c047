from django.urls import path

from webapp.faq import api, entry_api, publish_api

urlpatterns = [
    path("faq/collections", api.CollectionsView.as_view(), name="faq-collections"),
    path("faq/collections/<slug:slug>", api.CollectionView.as_view(), name="faq-collection"),
    path("faq/collections/<slug:slug>/publish", publish_api.PublishView.as_view(), name="faq-publish"),
    path("faq/collections/<slug:slug>/entries", entry_api.EntriesView.as_view(), name="faq-entries"),
    path("faq/collections/<slug:slug>/entries/<str:entry_id>", entry_api.EntryView.as_view(), name="faq-entry"),
]

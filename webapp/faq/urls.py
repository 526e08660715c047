from django.urls import path

from webapp.faq import entry_views, views

app_name = "faq"
urlpatterns = [
    path("", views.search, name="search"),
    path("<slug:slug>/", views.search, name="collection"),
    path("<slug:slug>/entries/", entry_views.entries, name="entries"),
    path("<slug:slug>/entries/new/", entry_views.new, name="entry-new"),
    path("<slug:slug>/entries/many/", entry_views.many, name="entries-many"),
    path("<slug:slug>/entries/preview/", entry_views.preview, name="entry-preview"),
    path("<slug:slug>/entries/<int:pk>/", entry_views.entry, name="entry"),
    path("<slug:slug>/history/", entry_views.history, name="history"),
    path("<slug:slug>/history/<int:pk>/", entry_views.revision, name="revision"),
    path("<slug:slug>/history/<int:pk>/restore/", entry_views.restore, name="revision-restore"),
]

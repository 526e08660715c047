from django.urls import path

from webapp.faq import entry_views, publish_views, report_views, review_views, threshold_views, views
from webapp.faq.imports import views as import_views

app_name = "faq"
urlpatterns = [
    path("", views.search, name="search"),
    path("<slug:slug>/", views.search, name="collection"),
    path("<slug:slug>/entries/", entry_views.entries, name="entries"),
    path("<slug:slug>/entries/new/", entry_views.new, name="entry-new"),
    path("<slug:slug>/entries/many/", entry_views.many, name="entries-many"),
    path("<slug:slug>/entries/preview/", entry_views.preview, name="entry-preview"),
    path("<slug:slug>/entries/<int:pk>/", entry_views.entry, name="entry"),
    path("<slug:slug>/imports/", import_views.imports, name="imports"),
    path("<slug:slug>/imports/<int:pk>/", import_views.one, name="import"),
    path("<slug:slug>/imports/<int:pk>/read/", import_views.read, name="import-read"),
    path("<slug:slug>/imports/<int:pk>/start/", import_views.start, name="import-start"),
    path("<slug:slug>/imports/<int:pk>/discard/", import_views.discard, name="import-discard"),
    path("<slug:slug>/export/<slug:form>/", import_views.export, name="export"),
    path("<slug:slug>/publish/", publish_views.publish, name="publish"),
    path("<slug:slug>/threshold/", threshold_views.threshold, name="threshold"),
    path("<slug:slug>/review/", review_views.queue, name="review"),
    path("<slug:slug>/review/<int:pk>/", review_views.group, name="review-group"),
    path("<slug:slug>/review/<int:pk>/new/", review_views.new_entry, name="review-new"),
    path("<slug:slug>/report/", report_views.show, name="report"),
    path("<slug:slug>/kept/", report_views.kept, name="kept"),
    path("<slug:slug>/history/", entry_views.history, name="history"),
    path("<slug:slug>/history/<int:pk>/", entry_views.revision, name="revision"),
    path("<slug:slug>/history/<int:pk>/restore/", entry_views.restore, name="revision-restore"),
]

from django.urls import path

from webapp.batch import views

app_name = "batch"
urlpatterns = [
    path("", views.batches, name="list"),
    path("new", views.new, name="new"),
    path("<uuid:batch_id>/", views.batch, name="batch"),
    path("<uuid:batch_id>/read", views.read, name="read"),
    path("<uuid:batch_id>/start", views.start, name="start"),
    path("<uuid:batch_id>/cancel", views.cancel, name="cancel"),
    path("<uuid:batch_id>/retry", views.retry, name="retry"),
    path("<uuid:batch_id>/delete", views.delete, name="delete"),
    path("<uuid:batch_id>/thumbnails/<int:row>", views.thumbnail, name="thumbnail"),
    path("<uuid:batch_id>/<str:which>/<str:form>", views.download, name="download"),
]

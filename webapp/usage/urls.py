from django.urls import path

from webapp.usage import views

app_name = "usage"
urlpatterns = [
    path("history/", views.history, name="history"),
    path("history/delete", views.delete_all, name="delete-all"),
    path("feedback", views.judge, name="feedback"),
    path("usage/", views.use, name="use"),
    path("usage/export.csv", views.use_csv, name="use-csv"),
    path("history/<int:record_id>/delete", views.delete, name="delete"),
]

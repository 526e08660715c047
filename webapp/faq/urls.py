from django.urls import path

from webapp.faq import views

app_name = "faq"
urlpatterns = [
    path("", views.search, name="search"),
    path("<slug:slug>/", views.search, name="collection"),
]

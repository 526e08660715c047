from django.urls import path

from webapp.images.api import ClassifyView

urlpatterns = [path("classify", ClassifyView.as_view(), name="images-classify")]

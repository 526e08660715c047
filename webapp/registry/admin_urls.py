from collections.abc import Callable

from django.contrib import admin
from django.http.response import HttpResponseBase
from django.urls import path, register_converter
from django.urls.converters import StringConverter
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from webapp.registry import admin_views
from webapp.registry.admin_actions import ON_A_MODEL, ON_A_VERSION
from webapp.registry.admin_uploads import UploadArtifact, UploadEvaluationSet

Page = Callable[..., HttpResponseBase]


def page(view: type[View]) -> Page:
    """The view behind the door of the admin."""
    return admin.site.admin_view(view.as_view())


def upload(view: type[View]) -> Page:
    """Likewise, but it checks the form's safety token itself: see UploadView."""
    return admin.site.admin_view(csrf_exempt(view.as_view()))


class StoreName(StringConverter):
    """What a model or a version can be called (models.store_name): nothing else reaches the database."""

    regex = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


register_converter(StoreName, "store-name")
MODEL = "<store-name:name>/"
VERSION = f"{MODEL}versions/<store-name:version>/"

app_name = "models"
urlpatterns = [
    path("", page(admin_views.ModelList), name="list"),
    path(MODEL, page(admin_views.ModelPage), name="model"),
    path(f"{MODEL}live", page(admin_views.ModelLive), name="live"),
    path(f"{MODEL}settings", page(admin_views.Settings), name="settings"),
    path(f"{MODEL}upload", upload(UploadArtifact), name="upload"),
    path(f"{MODEL}evaluation-set", upload(UploadEvaluationSet), name="evaluation-set"),
    path(f"{MODEL}evaluation-set/picture", page(admin_views.EvaluationPicture), name="evaluation-picture"),
    *(path(f"{MODEL}{slug}", page(view), name=slug) for slug, view in ON_A_MODEL.items()),
    path(VERSION, page(admin_views.VersionPage), name="version"),
    path(f"{VERSION}live", page(admin_views.VersionLive), name="check-live"),
    *(path(f"{VERSION}{slug}", page(view), name=slug) for slug, view in ON_A_VERSION.items()),
]

"""Artifacts and evaluation sets as they come from a browser: up to a gigabyte, streamed to the disk."""

from pathlib import Path
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect

from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.partials import wants_part
from webapp.registry import artifacts, evaluation_sets, services
from webapp.registry.admin_base import ModelView, add_errors
from webapp.registry.forms import EvaluationSetForm, UploadForm
from webapp.scoring import store


class UploadView(ModelView):
    """A form with a large file.

    Its address is exempt from the site's CSRF check, which would read the body before anybody has asked who sends it;
    the check is made here instead, once that is known. A script that sends the file, so as to show how far it is, gets
    JSON: where to go next, or what is wrong with which field.
    """

    permission = "register_version"
    template: ClassVar[str]
    title: ClassVar[str]

    def handle(self, request: HttpRequest, *args: str, **names: str) -> HttpResponseBase:
        request.upload_handlers = [TemporaryFileUploadHandler(request)]
        return csrf_protect(super().handle)(request, *args, **names)

    def form(self, *sent: Any) -> forms.Form:
        raise NotImplementedError

    def take(self, values: dict[str, Any]) -> tuple[str, str]:
        """Does what the form asks; where to go from there, and what to say. Raises InvalidInput or Conflict."""
        raise NotImplementedError

    def get(self, _request: HttpRequest, **_names: str) -> HttpResponse:
        return self._show(self.form())

    def post(self, request: HttpRequest, **_names: str) -> HttpResponse:
        form = self.form(request.POST, request.FILES)
        if not form.is_valid():
            return self._refuse(form, 422)
        try:
            address, said = self.take(form.cleaned_data)
        except (InvalidInput, Conflict) as error:
            add_errors(form, error)
            return self._refuse(form, 409 if isinstance(error, Conflict) else 422)
        messages.success(request, said)
        return JsonResponse({"location": address}, status=201) if wants_part(request) else redirect(address)

    def _refuse(self, form: forms.Form, status: int) -> HttpResponse:
        if not wants_part(self.request):
            return self._show(form, status=status)
        field, errors = next(iter(form.errors.items()))
        return JsonResponse(
            {"field": field if field in form.fields else None, "detail": " ".join(map(str, errors))}, status=status
        )

    def _show(self, form: forms.Form, *, status: int = 200) -> HttpResponse:
        context = {"title": self.title, "form": form, "most": settings.MAX_ARTIFACT_UPLOAD_BYTES}
        return self.page(self.template, context, status=status)


class UploadArtifact(UploadView):
    template = "admin/registry/upload.html"
    title = "Upload a version"

    def form(self, *sent: Any) -> forms.Form:
        return UploadForm(*sent)

    def take(self, values: dict[str, Any]) -> tuple[str, str]:
        staged = artifacts.unpack(_path_of(values["artifact"]), self.model)
        try:
            version = services.register_folder(self.model, staged, by=self.person, notes=values["notes"])
        finally:
            store.discard(staged)  # what was registered lies elsewhere by now
        address = reverse("models:version", args=[self.model.name, version.name])
        return address, f"Version {version.name} is registered, and its check has started."


class UploadEvaluationSet(UploadView):
    template = "admin/registry/evaluation_set.html"
    title = "Evaluation set"

    def find(self, **names: str) -> None:
        super().find(**names)
        if self.model.kind not in EvaluationSetForm.HINTS:
            raise NotFound(f"{self.model.label} is a model of generic tensors, which have no evaluation set.")

    def form(self, *sent: Any) -> forms.Form:
        return EvaluationSetForm(*sent, kind=self.model.kind)

    def take(self, values: dict[str, Any]) -> tuple[str, str]:
        count = evaluation_sets.replace(self.model, _path_of(values["evaluation"]), by=self.person)
        return reverse("models:model", args=[self.model.name]), f"The evaluation set has {count:,} inputs now."


def _path_of(upload: TemporaryUploadedFile) -> Path:
    """Where the upload lies until the request ends."""
    return Path(upload.temporary_file_path())

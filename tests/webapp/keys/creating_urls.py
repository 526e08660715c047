"""The site's addresses, and one that creates: a record of the history for each request, under a secret shown once."""

import secrets

from django.urls import path
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from tests.factories import make_record
from webapp import urls
from webapp.errors import Conflict, InvalidInput
from webapp.keys.api import ApiRequest, ApiView
from webapp.keys.parsers import StrictJSONParser


class Creations(ApiView):
    idempotent = True
    parser_classes = [StrictJSONParser, MultiPartParser]
    meanwhile = None  # a test's own: called while the first request is being answered
    before = None  # the same: what takes long

    def prepare(self) -> None:
        if type(self).before:
            type(self).before()

    def post(self, request: ApiRequest) -> Response:
        name = str(request.data.get("name", ""))
        if not name:
            raise InvalidInput("Name it.", field="name")
        record = make_record(request.auth_principal.user, subject=name)
        match name:
            case "refused":
                raise Conflict("Not now.")
            case "broken":
                raise RuntimeError("a bug")
            case "meanwhile":
                type(self).meanwhile()
        made = {"id": record.pk, "name": name, "secret": secrets.token_urlsafe()}
        return Response(made, 201, headers={"Location": f"/api/v1/creations/{record.pk}"})


urlpatterns = [path("api/v1/creations", Creations.as_view()), *urls.urlpatterns]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500

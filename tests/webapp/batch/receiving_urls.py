"""Addresses that tell what has been received, by the page's door and the API's, below those of the site."""

from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from webapp.batch import files, uploads
from webapp.keys.api import ApiRequest, ApiView


def told(upload: files.StoredUpload) -> dict[str, object]:
    return {"path": str(upload.path), "name": upload.name, "size": upload.size, "digest": upload.digest}


def take(request: HttpRequest) -> JsonResponse:
    return JsonResponse(told(uploads.upload_of(request)) | {"note": request.POST.get("note")})


class TakeView(ApiView):
    parser_classes = [MultiPartParser]

    def post(self, request: ApiRequest) -> Response:
        if request.content_type.startswith("application/jsonl"):
            return Response(told(uploads.store_body(request._request, "body.jsonl")))
        return Response(told(uploads.upload_of(request._request)))


urlpatterns = [
    path("batches/take", take),
    path("api/v1/batches/take", TakeView.as_view()),
    path("", include("webapp.urls")),
]

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from webapp.batch import uploads
from webapp.middleware import Middleware


class UploadMiddleware(Middleware):
    """Has what is sent to batches go straight to their disk.

    It stands behind BodyLimitMiddleware, which has let through only those who may upload, and before anything looks
    into a form: once read, it has been kept in memory or in a temporary file.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or not request.path.startswith(settings.BATCH_PATHS):
            return self.get_response(request)
        with uploads.receiving(request):
            return self.get_response(request)

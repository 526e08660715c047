"""Answers that a client has already: it sends their ETag, and gets a 304 without a body."""

import hashlib
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class EtagView(APIView):
    """A view whose answers to GET carry an ETag, where `etagged` says so; If-None-Match is heeded.

    The ETag is a weak one, made of the content: the same content may go out compressed in several ways.
    """

    etagged = True

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if not self.etagged or final.status_code != 200 or request.method not in {"GET", "HEAD"}:
            return final
        finish = partial(_unless_known, request._request)
        if hasattr(final, "add_post_render_callback"):
            final.add_post_render_callback(finish)
            return final
        finished: Response = finish(final)  # of a view that has written its answer itself
        return finished


def _unless_known(request: HttpRequest, answer: HttpResponse) -> Any:
    """The answer with its ETag; 304 in its place when the client has it."""
    etag = f'W/"{hashlib.sha256(answer.content).hexdigest()[:32]}"'
    answer["ETag"] = etag
    return get_conditional_response(request, etag=etag, response=answer)

"""Answers packed as the client can read them: zstd, brotli or gzip, whichever it likes best."""

import re

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django_http_compression.middleware import HttpCompressionMiddleware


class CompressionMiddleware(HttpCompressionMiddleware):
    """Packs text of any kind, also while it is streamed; what is packed already, such as a picture, stays as it is.

    An attacker who can see the length of packed answers, and have what he likes mirrored in them, could guess a secret
    that stands in all of them (BREACH). Ours stand in none of them twice alike: Django masks the safety token of forms
    anew in each page, sessions and keys are in headers. The header X-Noise, of random length, blurs the length.
    """

    content_type_re = re.compile(
        r"^(?:text/.*|application/(?:(?:.*\+)?(?:json|xml)|javascript|jsonl|x-ndjson|vnd\.oai\.openapi.*)|image/svg\+xml)$",
        re.IGNORECASE,
    )
    least = 500  # bytes; less would hardly shrink

    def maybe_compress(self, request: HttpRequest, response: HttpResponseBase) -> None:
        if self.content_type_re.match(response.headers.get("Content-Type", "").partition(";")[0].strip()):
            patch_vary_headers(response, ["Accept-Encoding"])  # also for who gets it unpacked: caches must not mix them
        if isinstance(response, HttpResponse) and len(response.content) < self.least:
            return
        super().maybe_compress(request, response)

"""Answers are packed as the client asks for, and say so to caches."""

import gzip
import itertools
import json
from collections.abc import Iterator

import brotli
import pytest
from backports import zstd
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from webapp import urls

pytestmark = pytest.mark.django_db
UNPACK = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstd.decompress}
asked_for = []  # the pieces of the stream that were made so far


def pieces() -> Iterator[bytes]:
    for number in range(1000):
        asked_for.append(number)
        yield json.dumps({"row": number, "question": "how do I copy an array?"}).encode() * 100 + b"\n"


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces(), content_type="application/x-ndjson")


def picture(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"\xff\xd8" * 1000, content_type="image/jpeg")


urlpatterns = [path("api/v1/stream", stream), path("api/v1/picture", picture), *urls.urlpatterns]
handler404 = urls.handler404


def fetch(client, path: str, accepted: str | None):
    return client.get(path, headers={} if accepted is None else {"Accept-Encoding": accepted})


@pytest.mark.parametrize("path", ["/api/v1/schema", "/api/docs"])
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_json_and_pages_are_packed(client, path, coding):
    plain, packed = fetch(client, path, None), fetch(client, path, coding)
    assert packed["Content-Encoding"] == coding
    assert len(UNPACK[coding](packed.content)) == pytest.approx(len(plain.content), rel=0.01)
    assert len(packed.content) < len(plain.content) / 3
    assert packed["Content-Length"] == str(len(packed.content))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, br;q=0.8, zstd;q=0.5", "gzip"),
        ("zstd;q=0, br;q=0.2", "br"),
        ("gzip;q=0", None),
        ("identity", None),
        ("", None),
        ("deflate", None),
    ],
)
def test_the_client_says_what_it_likes(client, accepted, coding):
    assert fetch(client, "/api/v1/schema", accepted).get("Content-Encoding") == coding


@pytest.mark.parametrize("accepted", ["gzip", None])
def test_caches_are_told_that_forms_differ_whichever_comes(client, accepted):
    assert "Accept-Encoding" in fetch(client, "/api/v1/schema", accepted)["Vary"]


def test_what_is_short_stays_as_it_is(client):
    answer = fetch(client, "/api/v1/me", "gzip")
    assert answer.json()["status"] == 401
    assert "Content-Encoding" not in answer


def test_pictures_stay_as_they_are(client, settings):
    settings.ROOT_URLCONF = __name__
    answer = fetch(client, "/api/v1/picture", "gzip")
    assert "Content-Encoding" not in answer
    assert "Accept-Encoding" not in answer.get("Vary", "")


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_stream_is_packed_piece_by_piece(client, settings, coding):
    settings.ROOT_URLCONF = __name__
    asked_for.clear()
    answer = fetch(client, "/api/v1/stream", coding)
    assert answer["Content-Encoding"] == coding
    beginning = list(itertools.islice(answer.streaming_content, 20))
    assert len(asked_for) <= 20  # no more was made than was fetched
    packed = b"".join([*beginning, *answer.streaming_content])
    assert UNPACK[coding](packed) == b"".join(pieces())
    assert len(packed) < 1_000_000


def test_a_packed_answer_keeps_its_weak_etag(client):
    packed = fetch(client, "/api/v1/schema", "gzip")
    assert packed["ETag"] == fetch(client, "/api/v1/schema", None)["ETag"]
    again = client.get("/api/v1/schema", headers={"Accept-Encoding": "gzip", "If-None-Match": packed["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "Content-Encoding" not in again


def test_the_length_of_a_packed_page_is_blurred(client):
    lengths = {len(fetch(client, "/api/docs", "gzip")["X-Noise"]) for _ in range(8)}
    assert len(lengths) > 1

"""Lists come a page at a time: each row once, whatever comes in meanwhile."""

import json
import re
from datetime import timedelta

import pytest
from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from tests.factories import bearer, make_record
from tests.webapp.answers import assert_problem
from webapp import paging, urls
from webapp.errors import InvalidInput
from webapp.keys.api import ApiRequest, ApiView, PageAskSerializer, PageSerializer, page_answer, parse
from webapp.keys.models import ApiKey
from webapp.usage.models import ScoringRecord

pytestmark = pytest.mark.django_db


class RecordSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="pk")


class RecordsSerializer(PageSerializer):
    data = RecordSerializer(many=True)


class Records(ApiView):
    def get(self, request: ApiRequest) -> Response:
        ask = parse(PageAskSerializer, request.query_params.dict()).validated_data
        rows = ScoringRecord.objects.filter(user=request.auth_principal.user)
        return page_answer(
            request, paging.page_of(rows, cursor=ask.get("cursor"), limit=ask["limit"]), RecordsSerializer
        )


urlpatterns = [path("api/v1/records", Records.as_view()), *urls.urlpatterns]
handler404 = urls.handler404


@pytest.fixture
def records(owner, settings):
    """Seven, of which three are of the same microsecond; the ids of the newest first."""
    settings.ROOT_URLCONF = __name__
    now = timezone.now()
    moments = [now - timedelta(seconds=age) for age in (9, 8, 5, 5, 5, 2, 1)]
    made = [make_record(owner, created_at=moment) for moment in moments]
    return [record.pk for record in reversed(made)]


def test_the_pages_together_hold_each_row_once_newest_first(client, owner_key, records, owner):
    seen, address = [], "/api/v1/records?limit=2"
    while address:
        answer = client.get(address, headers=bearer(owner_key))
        page = answer.json()
        seen += [row["id"] for row in page["data"]]
        make_record(owner)  # comes in meanwhile
        link = re.fullmatch(r'<http://testserver(/.*)>; rel="next"', answer.get("Link", ""))
        address = link and link[1]
        assert page["has_more"] == bool(address) == (page["next_cursor"] is not None)
        assert not address or "limit=2" in address
    assert seen == records


def test_a_list_that_ends_with_the_page_has_no_more(client, owner_key, records):
    page = client.get("/api/v1/records", {"limit": 7}, headers=bearer(owner_key)).json()
    assert (len(page["data"]), page["has_more"], page["next_cursor"]) == (7, False, None)


@pytest.mark.parametrize("limit", [0, 101, "many"])
def test_a_page_has_1_to_100_rows(client, owner_key, records, limit):
    problem = assert_problem(
        client.get("/api/v1/records", {"limit": limit}, headers=bearer(owner_key)), 422, "invalid-input"
    )
    assert problem["errors"][0]["field"] == "limit"


@pytest.mark.parametrize("cursor", ["x", "W10:forged", "\0", "é", "9" * 5000])
def test_a_cursor_that_was_not_made_here_is_named(client, owner_key, records, cursor):
    answer = client.get("/api/v1/records", {"cursor": cursor}, headers=bearer(owner_key))
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == "cursor"


def test_nor_does_one_of_another_list_lead_anywhere(owner, records):
    cursor = paging.page_of(ScoringRecord.objects.all(), limit=1).next_cursor
    with pytest.raises(InvalidInput):
        paging.page_of(ApiKey.objects.all(), cursor=cursor)


class TestEtags:
    def test_what_a_client_has_already_is_a_304_without_a_body(self, client, owner_key, scoring):
        first = client.get("/api/v1/models", headers=bearer(owner_key))
        assert re.fullmatch(r'W/"\w{32}"', first["ETag"])
        again = client.get("/api/v1/models", headers={**bearer(owner_key), "If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == first["ETag"]
        assert again["X-Request-ID"]
        assert "RateLimit" in again

    def test_what_has_changed_comes_anew(self, client, owner_key, scoring):
        old = client.get("/api/v1/models", headers={**bearer(owner_key), "If-None-Match": 'W/"old"'})
        assert old.status_code == 200
        assert old.json()["models"]

    def test_a_stranger_learns_nothing_from_an_etag(self, client):
        assert client.get("/api/v1/models", headers={"If-None-Match": "*"}).status_code == 401

    def test_the_document_has_one(self, client):
        first = client.get("/api/v1/schema")
        assert json.loads(first.content)["openapi"]
        assert client.get("/api/v1/schema", headers={"If-None-Match": first["ETag"]}).status_code == 304

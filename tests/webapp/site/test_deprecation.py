"""What will go says so in every answer, and in the OpenAPI document."""

from datetime import UTC, datetime

import pytest
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework.response import Response

from tests.factories import bearer
from webapp import urls
from webapp.deprecation import Deprecation
from webapp.keys.api import ApiRequest, ApiView

pytestmark = pytest.mark.django_db
OLD = Deprecation(
    since=datetime(2026, 12, 1, tzinfo=UTC),
    sunset=datetime(2027, 12, 1, 12, tzinfo=UTC),
    link="https://e.test/api/docs",
)


class Old(ApiView):
    deprecated = OLD

    def get(self, _request: ApiRequest) -> Response:
        return Response({}, headers={"Link": '</next>; rel="next"'})


urlpatterns = [path("api/v1/old", Old.as_view(), name="old"), *urls.urlpatterns]
handler404 = urls.handler404


@pytest.fixture(autouse=True)
def with_something_old(settings):
    settings.ROOT_URLCONF = __name__


def test_an_answer_says_since_when_until_when_and_what_instead(client, owner_key):
    answer = client.get("/api/v1/old", headers=bearer(owner_key))
    assert answer["Deprecation"] == "@1796083200"
    assert answer["Sunset"] == "Wed, 01 Dec 2027 12:00:00 GMT"
    assert answer["Link"] == '</next>; rel="next", <https://e.test/api/docs>; rel="deprecation"; type="text/html"'


def test_so_does_an_error(client):
    answer = client.get("/api/v1/old")
    assert answer.status_code == 401
    assert "Deprecation" in answer


def test_what_stays_says_nothing(client, owner_key):
    answer = client.get("/api/v1/me", headers=bearer(owner_key))
    assert not {"Deprecation", "Sunset", "Link"} & set(answer.headers)


def test_without_a_known_end_there_is_no_sunset():
    assert set(Deprecation(since=OLD.since, link=OLD.link).headers()) == {"Deprecation", "Link"}


@pytest.mark.filterwarnings("ignore")
def test_the_document_marks_it():
    document = SchemaGenerator(urlconf=__name__).get_schema(request=None, public=True)
    operation = document["paths"]["/api/v1/old"]["get"]
    assert operation["deprecated"] is True
    headers = next(iter(operation["responses"].values()))["headers"]
    assert {"Deprecation", "Sunset"} <= set(headers)
    assert "deprecated" not in document["paths"]["/api/v1/me"]["get"]

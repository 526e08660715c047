"""GET /api/v1/models."""

import httpx2 as httpx

from tests.factories import bearer, make_key
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods

URL = "/api/v1/models"


def test_any_key_may_list_the_models(client, owner, scoring: Pods):
    scoring.models["gpu"][0]["metrics"] = {"accuracy@1": 0.78}
    answer = client.get(URL, headers=bearer(make_key(owner, "faq:read")))
    assert answer.status_code == 200
    assert answer.json()["models"][1] == {
        "name": "resnet152",
        "kind": "image",
        "title": "ResNet-152",
        "description": "",
        "sample": False,
        "version": "1",
        "ready": True,
        "reason": "",
        "metrics": {"accuracy@1": 0.78},
    }


def test_a_stranger_is_a_401(client, db):
    assert_problem(client.get(URL), 401, "not-signed-in")


def test_when_all_pods_are_gone_it_is_a_503(client, owner_key, scoring: Pods, monkeypatch):
    def gone(_request):
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(scoring, "behave", gone)
    answer = client.get(URL, headers=bearer(owner_key))
    assert_problem(answer, 503, "scoring-unavailable")
    assert "Retry-After" in answer

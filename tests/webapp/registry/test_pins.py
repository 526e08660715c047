"""Asking for a version by name, and which version a caller gets who does not."""

from queue import Queue

import pytest

from tests.factories import bearer, make_collection, make_key, make_model, make_version, picture
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods
from webapp.registry import queries, shadow
from webapp.registry.models import ScoringModel, Version
from webapp.usage import traffic
from webapp.usage.models import ScoringRecord, Traffic

MATCH, CLASSIFY = "/api/v1/faq/match", "/api/v1/images/classify"


@pytest.fixture
def pods(scoring: Pods) -> Pods:
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, {"question": [], "entry": []})]
    return scoring


@pytest.fixture
def pin_key(owner):
    """Of both models there are champion 7, canary 8, standby 6, and 5 that is not loaded."""
    for name in ("faq-javascript", "resnet152"):
        model = make_model(name)
        for version, role in (("5", ""), ("6", "standby"), ("7", "champion"), ("8", "canary")):
            make_version(model, version, role)
    return make_key(owner, "faq:read", "images:read", "models:pin", name="Pins")


def ask(client, key, version):
    body = {"question": "copy", **({"version": version} if version else {})}
    return client.post(MATCH, body, content_type="application/json", headers=bearer(key))


def classify(client, key, version):
    fields = {"files": picture(), **({"version": version} if version else {})}
    return client.post(CLASSIFY, fields, headers=bearer(key))


@pytest.mark.parametrize(("call", "model"), [(ask, "faq-javascript"), (classify, "resnet152")])
def test_each_loaded_version_can_be_asked_for(client, pin_key, pods, call, model):
    for version in ("6", "7", "8"):
        assert call(client, pin_key, version).status_code == 200
        assert pods.sent[-1].url.path == f"/v2/models/{model}/versions/{version}/infer"


@pytest.mark.parametrize("call", [ask, classify])
@pytest.mark.parametrize("version", ["5", "99", "../7"])
def test_any_other_is_a_422_that_names_those_there_are(client, pin_key, pods, call, version):
    problem = assert_problem(call(client, pin_key, version), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "version"
    assert "7 or 8 or 6" in problem["detail"]
    assert not pods.inferences()


@pytest.mark.parametrize("call", [ask, classify])
def test_a_model_that_the_registry_does_not_know_has_none_to_ask_for(client, pin_key, pods, call):
    Version.objects.all().delete()
    assert "Leave the field out" in assert_problem(call(client, pin_key, "1"), 422, "invalid-input")["detail"]


@pytest.mark.parametrize("call", [ask, classify])
def test_it_needs_the_scope(client, owner_key, pods, call):
    assert "`models:pin`" in assert_problem(call(client, owner_key, "7"), 403, "not-allowed")["detail"]
    assert not pods.inferences()


def test_a_version_in_the_address_of_a_raw_picture_is_asked_for_too(client, pin_key, pods):
    body = picture().read()
    answer = client.post(f"{CLASSIFY}?version=8", body, content_type="image/png", headers=bearer(pin_key))
    assert answer.status_code == 200
    assert pods.sent[-1].url.path.endswith("/versions/8/infer")


@pytest.mark.parametrize("call", [ask, classify])
def test_what_was_asked_of_a_named_version_is_marked(client, pin_key, pods, call):
    call(client, pin_key, "7")
    traffic.write()
    assert Traffic.objects.get().pinned
    assert ScoringRecord.objects.get().pinned


@pytest.mark.parametrize("call", [ask, classify])
def test_the_shadow_scores_again_only_what_named_no_version(client, pin_key, pods, monkeypatch, call):
    Version.objects.filter(role="champion").update(name="1")  # with which the pods answer
    for model in ScoringModel.objects.all():
        make_version(model, "9", "shadow", percent=100)
    queries.forget_shadows()
    offered = Queue()
    monkeypatch.setattr(shadow, "_sender", shadow.Sender(lambda bundle: offered.put(bundle) or True))
    call(client, pin_key, "1")
    call(client, pin_key, None)
    [offer] = offered.get(timeout=10)
    assert offer.shadow == "9"
    assert offered.empty()


def test_a_key_and_a_person_are_each_sent_to_one_version(client, owner, owner_key, pods):
    client.post(MATCH, {"question": "copy"}, content_type="application/json", headers=bearer(owner_key))
    client.post(CLASSIFY, {"files": picture()}, headers=bearer(owner_key))
    client.post("/score", {"input": "copy"}, content_type="application/json", headers=bearer(owner_key))
    client.force_login(owner)
    client.get("/faq/?q=copy")
    client.post("/images/", {"files": picture()})
    keys = [asked.parameters["routing_key"] for asked in pods.inferences()]
    assert keys == [f"key:{owner_key.key.pk}"] * 3 + [f"user:{owner.pk}"] * 2

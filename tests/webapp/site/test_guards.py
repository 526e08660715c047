"""What holds on every page: who may open it, and the headers that keep browsers safe."""

import re
import uuid

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.factories import make_key, make_record
from tests.webapp.answers import assert_problem
from webapp import guide, middleware
from webapp.usage.models import ScoringRecord

pytestmark = pytest.mark.django_db

PUBLIC = {"privacy", "home", "api-schema", "problem", *(page.url_name for page in guide.PAGES)}
ARGUMENTS = {
    "slug": "not-found",
    **dict.fromkeys(("batch_id", "endpoint_id", "webhook_id", "delivery_id"), uuid.uuid4()),
}


def ours(patterns, namespace=""):
    """All named addresses of our own: (name, arguments it takes)."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace != "admin" and str(pattern.pattern) != "accounts/":
                yield from ours(pattern.url_patterns, f"{pattern.namespace}:" if pattern.namespace else namespace)
        elif isinstance(pattern, URLPattern):
            yield f"{namespace}{pattern.name}", sorted(pattern.pattern.converters)


PAGES = {
    name: reverse(name, kwargs={each: ARGUMENTS.get(each, 1) for each in names})
    for name, names in ours(get_resolver("webapp.urls").url_patterns)
}


def test_the_list_of_public_pages_is_not_out_of_date():
    assert set(PAGES) >= PUBLIC
    assert len(PAGES) > 12


@pytest.mark.parametrize("name", sorted(set(PAGES) - PUBLIC))
@pytest.mark.parametrize("method", ["get", "post"])
def test_every_page_but_the_public_ones_demands_sign_in(client, name, method):
    answer = getattr(client, method)(PAGES[name])
    if PAGES[name].startswith(("/api/", "/score")):
        assert answer.status_code == 401
    elif answer.status_code != 405:
        assert answer.status_code == 302, name
        assert answer["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_pages_open_for_everybody(client, name):
    assert client.get(PAGES[name]).status_code == 200


SEEN = ["/", "/accounts/login/", "/api/docs", "/nothing", "/api/v1/me", "/api/v1/schema", "/faq/"]


@pytest.mark.parametrize("path", SEEN)
def test_every_answer_has_the_safety_headers(client, path):
    answer = client.get(path)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert "camera=()" in answer["Permissions-Policy"]


@pytest.mark.parametrize("path", SEEN)
def test_the_content_security_policy_lets_nothing_in_from_elsewhere_or_inline(client, path):
    policy = dict(each.strip().partition(" ")[::2] for each in client.get(path)["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", " ".join(policy.values()))


def test_no_page_relies_on_inline_scripts_or_styles(owner_client):
    for name, path in PAGES.items():
        answer = owner_client.get(path)
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            page = answer.content.decode()
            assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", page), name
            assert not re.search(r"<style|\sstyle=|\son\w+=", page), name


def test_no_shared_cache_keeps_what_was_made_for_one_person(owner_client):
    for name, path in PAGES.items():
        answer = owner_client.get(path)
        assert answer.status_code >= 400 or "private" in answer["Cache-Control"], name


@pytest.mark.parametrize("name", ["usage:history", "keys:list", "accounts:profile"])
def test_after_sign_out_back_does_not_show_personal_pages(owner_client, name):
    assert "no-store" in owner_client.get(PAGES[name])["Cache-Control"]


def test_each_answer_carries_a_request_id_of_its_own(client):
    ids = {client.get("/")["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3
    assert all(middleware.WELL_FORMED_ID.fullmatch(each) for each in ids)


def test_a_well_formed_id_of_the_callers_is_kept(client):
    assert client.get("/", headers={"X-Request-ID": "order-2027.03:17_b"})["X-Request-ID"] == "order-2027.03:17_b"


@pytest.mark.parametrize(
    "given", ["short", "has a space in it", "x" * 101, "line\nbreak-in-it", "ünïcödé-id-here", "<script>alert"]
)
def test_an_id_that_is_not_well_formed_is_replaced(client, given):
    assert client.get("/", HTTP_X_REQUEST_ID=given)["X-Request-ID"] != given


def test_probes_are_answered_whatever_address_they_call(client):
    for path in ("/health/live", "/health/ready"):
        answer = client.get(path, headers={"Host": "10.2.3.4:8000"})
        assert answer.status_code == 200
        assert answer.json()["status"] in {"live", "ready"}


def test_head_is_answered_like_get_and_changes_nothing(owner_client, owner):
    key, record = make_key(owner).key, make_record(owner)
    for path in ("/keys/", f"/keys/{key.pk}/revoke", "/account/", "/account/delete", "/history/", "/history/delete"):
        assert owner_client.head(path).status_code == owner_client.get(path).status_code == 200, path
    key.refresh_from_db()
    assert key.revoked_at is None
    assert list(ScoringRecord.objects.all()) == [record]


def test_a_probe_takes_no_other_method_than_its_own(client):
    answer = client.post("/health/live")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer["Allow"] == "GET, HEAD"


def test_people_signed_in_go_from_the_front_door_to_their_work(owner_client):
    assert owner_client.get("/")["Location"] == reverse("faq:search")

"""Every way to fail has one answer: a problem for programs, a page for people."""

import pytest
from django.db import OperationalError, connection
from django.test import Client

from tests.factories import bearer
from tests.webapp.answers import assert_problem
from tests.webapp.site.failing_urls import SECRET_WORDS
from webapp import errors, problems
from webapp.errors import AppError

pytestmark = pytest.mark.django_db

EXPECTED = {
    "bug": (500, "internal-error"),
    "database": (503, "unavailable"),
    "suspicious": (400, "bad-request"),
    "bad": (400, "bad-request"),
    "cut off": (400, "bad-request"),
    "forbidden": (403, "not-allowed"),
    "missing": (404, "not-found"),
    "invalid": (422, "invalid-input"),
    "busy": (503, "scoring-unavailable"),
    "slow": (504, "scoring-timeout"),
}


@pytest.fixture
def failing(settings, owner):
    """A browser that gets the error page where a test would otherwise get the exception."""
    settings.ROOT_URLCONF = "tests.webapp.site.failing_urls"
    client = Client(raise_request_exception=False)
    client.force_login(owner)
    return client


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_api_view_that_fails_answers_with_a_problem(failing, kind):
    answer = failing.get(f"/api/v1/fails/{kind}")
    assert_problem(answer, *EXPECTED[kind])
    assert SECRET_WORDS not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_page_that_fails_answers_with_a_page(failing, kind):
    answer = failing.get(f"/fails/{kind}")
    status, slug = EXPECTED[kind]
    page = answer.content.decode()
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/html")
    assert f"/problems/{slug}" in page
    assert answer["X-Request-ID"] in page
    assert SECRET_WORDS not in page
    assert "Traceback" not in page


def test_a_part_of_a_page_that_fails_is_a_part(failing):
    page = failing.get("/fails/slow", headers={"HX-Request": "true"}).content.decode()
    assert "Too slow." in page
    assert "<html" not in page


def test_the_field_at_fault_is_named(failing):
    problem = assert_problem(failing.get("/api/v1/fails/invalid"), 422, "invalid-input")
    assert problem["errors"] == [{"field": "question", "detail": "Too long."}]


def test_what_passes_says_when_to_come_back_in_whole_seconds(failing):
    assert failing.get("/api/v1/fails/busy")["Retry-After"] == "2"
    assert failing.get("/fails/busy")["Retry-After"] == "2"
    assert failing.get("/api/v1/fails/database")["Retry-After"] == "5"


def test_errors_are_not_cached(failing):
    assert failing.get("/api/v1/fails/slow")["Cache-Control"] == "no-store"
    assert failing.get("/fails/slow")["Cache-Control"] == "no-store"


def test_a_second_error_on_the_error_page_does_not_hide_the_first(failing, monkeypatch):
    render = problems.render_to_string

    def fails_once(template, *args):
        if template == "errors/problem.html":
            raise RuntimeError(SECRET_WORDS)
        return render(template, *args)

    monkeypatch.setattr(problems, "render_to_string", fails_once)
    answer = failing.get("/fails/bug")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.content.decode()


class TestWhatDjangoAndDrfRefuse:
    def test_an_unknown_address(self, client):
        assert_problem(client.get("/api/v1/nothing"), 404, "not-found")
        assert client.get("/nothing").status_code == 404
        assert b"urlpatterns" not in client.get("/nothing").content

    def test_a_wrong_host(self, client):
        for path in ("/", "/api/v1/me"):
            assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
        assert_problem(client.get("/api/v1/me", headers={"Host": "evil.example"}), 400, "bad-request")

    def test_a_wrong_method(self, client, owner_key):
        answer = client.delete("/api/v1/me", headers=bearer(owner_key))
        assert_problem(answer, 405, "method-not-allowed")
        assert answer["Allow"] == "GET, HEAD"
        assert_problem(client.options("/api/v1/me", headers=bearer(owner_key)), 405, "method-not-allowed")

    def test_a_form_of_answer_we_do_not_have(self, client, owner_key):
        answer = client.get("/api/v1/me", headers={**bearer(owner_key), "Accept": "application/xml"})
        assert_problem(answer, 406, "not-acceptable")

    def test_a_form_of_input_we_do_not_read(self, client, owner_key):
        answer = client.post("/api/v1/faq/match", "<q/>", "application/xml", headers=bearer(owner_key))
        assert_problem(answer, 415, "unsupported-media-type")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"\xff\xfe", b"NaN", b"[" * 100_000, b'{"question": ' + b"9" * 5000 + b"}"]
    )
    def test_json_that_does_not_parse(self, client, owner_key, body):
        answer = client.post("/api/v1/faq/match", body, "application/json", headers=bearer(owner_key))
        assert answer.status_code in {400, 422}
        assert answer["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "body", [b"null", b"[]", b'"text"', b"1", b'{"question": null}', b'{"question": {"a": 1}}']
    )
    def test_json_of_the_wrong_shape(self, client, owner_key, body):
        answer = client.post("/api/v1/faq/match", body, "application/json", headers=bearer(owner_key))
        problem = assert_problem(answer, 422, "invalid-input")
        assert problem["errors"]

    def test_a_body_that_is_too_large(self, client, owner_key):
        body = b'{"question": "' + b"x" * 1_100_000 + b'"}'
        answer = client.post("/api/v1/faq/match", body, "application/json", headers=bearer(owner_key))
        assert_problem(answer, 413, "too-large")
        assert client.post("/accounts/login/", {"login": "x" * 1_100_000}).status_code == 413

    def test_an_upload_past_its_limit_is_refused_by_its_length_alone(self, client, owner_key):
        answer = client.generic(
            "POST", "/api/v1/images/classify", b"", "image/png", headers=bearer(owner_key), CONTENT_LENGTH="90000000"
        )
        assert_problem(answer, 413, "too-large")

    def test_too_many_fields(self, client):
        assert client.post("/accounts/login/", {f"f{i}": "x" for i in range(200)}).status_code == 413

    def test_a_body_of_unknown_length(self, client):
        answer = client.post("/api/v1/faq/match", headers={"Transfer-Encoding": "chunked"})
        assert_problem(answer, 400, "bad-request")

    def test_a_form_without_its_token(self):
        answer = Client(enforce_csrf_checks=True).post("/accounts/login/", {"login": "a", "password": "b"})
        assert answer.status_code == 403
        assert "Reload the page" in answer.content.decode()


class TestWithoutADatabase:
    @pytest.fixture(autouse=True)
    def no_database(self, owner_key):
        def refuse(*_args):
            raise OperationalError("connection refused")

        with connection.execute_wrapper(refuse):
            yield

    def test_the_api_is_a_503_with_a_moment_to_come_back(self, owner_key):
        client = Client(raise_request_exception=False)
        answer = client.get("/api/v1/me", headers=bearer(owner_key))
        assert_problem(answer, 503, "unavailable")
        assert answer["Retry-After"]

    def test_pages_say_so(self):
        client = Client(raise_request_exception=False)
        client.cookies["session"] = "abcdefghijklmnopqrstuvwxyz012345"
        answer = client.get("/keys/")
        assert answer.status_code == 503
        assert "not available right now" in answer.content.decode()

    def test_only_readiness_suffers_not_liveness(self, client):
        assert client.get("/health/live").status_code == 200
        assert_problem(client.get("/health/ready"), 503, "unavailable")


def test_every_error_has_a_kind_of_its_own_and_a_page(client):
    def below(kind):
        return {kind} | {each for child in kind.__subclasses__() for each in below(child)}

    ours = {error for error in below(AppError) if error.__module__ == errors.__name__}
    assert ours == set(problems.KINDS)
    for kind in problems.BY_SLUG.values():
        page = client.get(f"/problems/{kind.slug}")
        assert page.status_code == 200
        assert kind.title in page.content.decode()


def test_an_unknown_problem_is_not_found(client):
    assert client.get("/problems/made-up").status_code == 404


def test_the_api_page_of_the_documentation_names_every_kind(settings):
    page = (settings.BASE_DIR / "docs" / "api.md").read_text(encoding="utf-8")
    rows = {f"| `/problems/{kind.slug}` | {kind.status} |" for kind in problems.KINDS.values()}
    assert {row for row in rows if row not in page} == set()

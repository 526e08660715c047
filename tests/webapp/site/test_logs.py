import json
import logging

import pytest
import structlog
from django.db import OperationalError, connection
from django.templatetags.static import static
from django.test import Client
from django.urls import reverse

from tests.factories import PASSWORD, bearer
from webapp.logs import hide_secrets, logging_config

pytestmark = pytest.mark.django_db


@pytest.fixture
def lines():
    """The log as a reader of standard error gets it."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            found.append(self.format(record))

    handler = Keep()
    handler.setFormatter(logging.getLogger().handlers[0].formatter)
    for each in logging.getLogger().handlers:
        if isinstance(each.formatter, structlog.stdlib.ProcessorFormatter):
            handler.setFormatter(each.formatter)
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


def test_each_request_is_one_line_with_its_id_status_and_time(client, lines):
    answer = client.get("/")
    (line,) = map(json.loads, lines)
    assert line["request"] == "GET /"
    assert line["code"] == 200
    assert line["duration_ms"] > 0
    assert line["request_id"] == answer["X-Request-ID"]
    assert line["timestamp"].endswith("Z")


def test_a_static_file_is_one_line_too(client, lines):
    answer = client.get(static("css/base.css"))
    assert b"".join(answer.streaming_content)
    assert [json.loads(line)["event"] for line in lines] == ["request_finished"]


def test_callers_write_nothing_of_their_own_into_the_log(client, lines):
    client.get("/", headers={"X-Correlation-ID": "all is well", "X-Request-ID": "all is well"})
    assert "all is well" not in "".join(lines)


def test_no_secret_and_no_question_gets_into_the_log(owner, owner_key, lines, settings):
    settings.ROOT_URLCONF = "tests.webapp.site.failing_urls"
    client = Client(raise_request_exception=False)
    client.post(reverse("account_login"), {"login": owner.email, "password": PASSWORD})
    client.get("/faq/", {"q": "am I pregnant"})
    client.post(
        "/api/v1/faq/match", {"question": "am I pregnant", "top_k": 0}, "application/json", headers=bearer(owner_key)
    )
    client.get("/api/v1/me", headers={"X-API-Key": owner_key.secret[:-1]})
    client.get("/api/v1/fails/bug", headers=bearer(owner_key))
    client.get("/accounts/password/reset/key/3-c0ffee-0123456789abcdef/")
    client.get("/accounts/confirm-email/MQ:1abcdef:c0ffee0123456789abcdef/")
    session = client.cookies["session"].value
    whole = "\n".join(lines)
    assert "RuntimeError" in whole, "the bug itself is logged"
    for secret in (PASSWORD, "pregnant", owner_key.secret.rpartition("_")[2][:-1], session, "0123456789abcdef"):
        assert secret not in whole


def test_values_named_like_secrets_and_keys_in_text_are_hidden():
    event = hide_secrets(
        None,
        "info",
        {"event": "sent sp_abcdefgh_" + "a" * 43 + " along", "password": "x", "Authorization": "y", "count": 3},
    )
    assert event == {
        "event": "sent sp_abcdefgh_[hidden] along",
        "password": "[hidden]",
        "Authorization": "[hidden]",
        "count": 3,
    }


class TestWithoutADatabase:
    @pytest.fixture(autouse=True)
    def no_database(self, owner_client, owner_key):
        def refuse(*_args):
            raise OperationalError("connection refused\nIs the server running?")

        owner_client.raise_request_exception = False
        with connection.execute_wrapper(refuse):
            yield

    @pytest.mark.parametrize("path", ["/keys/", "/faq/", "/api/v1/me", "/api/v1/models"])
    def test_a_request_is_one_line_with_the_status_that_is_answered(self, owner_client, owner_key, lines, path):
        answer = owner_client.get(path, headers=bearer(owner_key) if path.startswith("/api/") else {})
        assert answer.status_code == 503
        [line] = map(json.loads, lines)
        assert (line["event"], line["code"], line["level"]) == ("request_finished", 503, "warning")
        assert line["error"] == "OperationalError: connection refused"
        assert "exception" not in line

    def test_a_page_that_can_do_without_is_answered_and_one_line_too(self, owner_client, lines):
        answer = owner_client.get("/nothing")
        assert answer.status_code == 404
        assert "There is nothing at this address" in answer.content.decode()
        [line] = map(json.loads, lines)
        assert line["code"] == 404


def test_probes_do_not_fill_the_log(client, lines):
    client.get("/health/live")
    assert lines == []


def test_the_console_form_is_readable_and_as_silent():
    formatter = logging_config(form="console", level="INFO")["formatters"]["line"]
    built = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=formatter["foreign_pre_chain"], processors=formatter["processors"]
    )
    record = logging.LogRecord("site", logging.INFO, __file__, 1, "key sp_abcdefgh_%s", ("b" * 43,), None)
    line = built.format(record)
    assert line == "[info     ] key sp_abcdefgh_[hidden]"

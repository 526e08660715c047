"""Traces as a collector gets them from the running site, its worker and its pods."""

import os
import subprocess
import sys

import httpx2 as httpx
import pytest

from tests.cluster import wait_until
from tests.monitoring.collector import Span
from tests.monitoring.conftest import ANSWERED, MODEL
from tests.product import ROOT

SERVER, CLIENT, CONSUMER = 2, 3, 5
FAILED = 2


def spans_of(watched, request_id: str, service: str) -> list[Span]:
    """The service's spans in the trace of the request, once there are any."""
    found: list[Span] = []

    def there() -> bool:
        found[:] = [span for span in watched.collector.of(request_id) if span.service == service]
        return bool(found)

    wait_until(f"spans of {service} have arrived", there)
    return found


def test_a_request_is_one_trace_through_site_and_pod(watched):
    [question] = ANSWERED
    request_id = watched.ids[question]
    [pod] = spans_of(watched, request_id, "scorepod-scoring-cpu")
    assert (pod.name, pod.kind) == ("POST /v2/models/{model}/infer", SERVER)
    assert pod.attributes["request_id"] == request_id
    assert (pod.attributes["model"], pod.attributes["version"], pod.attributes["rows"]) == (MODEL, "1", 1)
    assert pod.attributes["queue_ms"] >= 0
    site = {span.kind: span for span in spans_of(watched, request_id, "scorepod-web")}
    assert site[SERVER].name == "POST api:faq-match"
    assert site[SERVER].parent_id == ""
    assert site[SERVER].attributes["http.response.status_code"] == 200
    assert site[CLIENT].parent_id == site[SERVER].span_id
    assert pod.parent_id == site[CLIENT].span_id


def test_a_request_that_fails_is_seen_to_fail(watched):
    request_id = watched.ids["crash on my aunt's birthday"]
    [pod] = spans_of(watched, request_id, "scorepod-scoring-cpu")
    assert pod.status == FAILED
    assert {span.status for span in spans_of(watched, request_id, "scorepod-web")} == {FAILED}


def test_a_task_is_part_of_the_trace_of_the_request_that_sent_it(watched):
    request_id = watched.ids["batch"]
    tasks = spans_of(watched, request_id, "scorepod-worker")
    [validation] = [span for span in tasks if span.name == "batch.validate"]
    assert validation.kind == CONSUMER
    site = {span.kind: span for span in spans_of(watched, request_id, "scorepod-web")}
    assert validation.parent_id == site[SERVER].span_id


def test_callers_do_not_choose_the_trace(watched):
    theirs = "0af7651916cd43dd8448eb211c80319c"
    answer = httpx.get(
        f"{watched.cluster.url}/api/v1/me",
        headers={**watched.bearer, "traceparent": f"00-{theirs}-b7ad6b7169203331-01"},
    )
    [span] = spans_of(watched, answer.headers["X-Request-ID"], "scorepod-web")
    assert span.trace_id != theirs
    assert span.parent_id == ""


def test_log_lines_name_the_trace(watched):
    [question] = ANSWERED
    [trace_id] = {span.trace_id for span in spans_of(watched, watched.ids[question], "scorepod-web")}
    for program in ("web", "pod-"):
        assert any(f'"{trace_id}"' in log for name, log in watched.logs().items() if program in name)


@pytest.mark.parametrize(
    "modules",
    [
        "webapp.wsgi",
        "scoring_service.app, scoring_service.serving",
    ],
)
def test_without_an_address_nothing_of_opentelemetry_is_loaded(modules):
    told = f"import sys, {modules}; print(*sys.modules, sep='\\n')"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    # The client for Redis looks for OpenTelemetry's metrics by itself; what makes and sends traces is ours.
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf")
    assert [name for name in done.stdout.splitlines() if name.startswith(ours)] == []

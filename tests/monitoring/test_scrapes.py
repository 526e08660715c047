"""What Prometheus gets from the running programs."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx

from tests.cluster import wait_until
from tests.monitoring.conftest import ANSWERED, MODEL


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def me(watched) -> httpx.Response:
    return httpx.get(f"{watched.cluster.url}/api/v1/me", headers=watched.bearer)


def test_requests_are_counted_by_route_method_and_status_over_all_processes(watched):
    asked = {"route": "api:me", "method": "GET", "status": "200"}
    before = watched.scrape
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: me(watched), range(40)))
    after = watched.scrape
    assert after.sum("scorepod_requests_total", **asked) - before.sum("scorepod_requests_total", **asked) == 40
    name = "scorepod_request_seconds_count"
    assert after.sum(name, route="api:me") - before.sum(name, route="api:me") == 40
    assert after.sum("scorepod_web_threads") == 2 * 16, "two processes"


def test_what_a_client_made_up_is_in_no_label(watched):
    for path in ("/made-up/", "/static/made-up.css", "/health/live", "/api/v1/batches/made-up"):
        httpx.get(watched.cluster.url + path)
    httpx.request("BREW", f"{watched.cluster.url}/faq/")
    httpx.post(f"{watched.cluster.url}/api/v1/images/classify?model=made-up", headers=watched.bearer)
    routes = watched.scrape.values_of("scorepod_requests_total", "route")
    assert {"none", "static", "health", "faq:search", "api:faq-match"} <= routes
    assert "other" in watched.scrape.values_of("scorepod_requests_total", "method")
    text = repr(watched.scrape)
    assert "made-up" not in text
    assert "BREW" not in text


def test_calls_to_pods_are_counted_by_version_and_outcome(watched):
    for outcome in ("ok", "refused", "error"):
        assert watched.scrape.sum("scorepod_pod_calls_total", model=MODEL, version="1", outcome=outcome) >= 1, outcome
    assert watched.scrape.sum("scorepod_pod_call_seconds_count", model=MODEL, version="1") >= 3


def test_rows_tell_where_they_came_from(watched):
    assert watched.scrape.sum("scorepod_rows_total", of="worker", source="batch", outcome="failed") == 1
    assert watched.scrape.sum("scorepod_rows_total", of="worker", source="batch", outcome="ok") == 301
    assert watched.scrape.sum("scorepod_rows_total", of="web", source="page") >= 1
    assert watched.scrape.sum("scorepod_rows_total", of="web", source="api") >= 1


def test_signing_in_is_counted_and_so_are_keys_that_open_nothing(watched):
    assert watched.scrape.sum("scorepod_logins_total", outcome="failed") == 1
    assert watched.scrape.sum("scorepod_logins_total", outcome="ok") >= 1
    assert watched.scrape.values_of("scorepod_keys_refused_total", "reason") == {"no key", "unknown"}


def test_tasks_tell_their_wait_their_time_and_their_end(watched):
    assert watched.scrape.sum("scorepod_tasks_total", of="worker", task="batch.validate", state="SUCCESS") >= 1
    assert watched.scrape.sum("scorepod_task_seconds_count", task="batch.work") >= 1
    for queue in ("default", "batch"):
        assert watched.scrape.sum("scorepod_task_wait_seconds_count", queue=queue) >= 1


def test_batches_and_webhooks_tell_how_they_ended(watched):
    assert watched.scrape.sum("scorepod_batch_chunks_ended_total", outcome="done") == 2
    assert watched.scrape.sum("scorepod_batch_jobs_ended_total", state="completed") == 1
    assert watched.scrape.sum("scorepod_webhook_attempts_total", outcome="delivered") == 1
    assert watched.scrape.sum("scorepod_webhook_deliveries") == 1, "the one that is tried again"


def test_who_has_the_schedule_tells_how_all_of_it_stands(watched):
    scrape = watched.scrape
    assert scrape.sum("scorepod_database_up", of="worker") == 1
    assert scrape.sum("scorepod_broker_up", of="worker") == 1
    assert scrape.values_of("scorepod_queue_messages", "queue") == {"default", "batch", "training"}
    assert scrape.values_of("scorepod_batch_jobs", "state") >= {"validating", "in_progress", "finalizing"}
    assert scrape.sum("scorepod_version_role", model=MODEL, version="1", role="champion") == 1
    assert 0 <= scrape.sum("scorepod_worker_silent_seconds") < 10
    assert scrape.values_of("scorepod_disk_free_bytes", "folder") == {"batches", "models"}
    assert "scorepod_queue_messages" not in {sample.name for sample in scrape.samples["web"]}, "once is enough"


def test_pods_tell_their_state_and_their_memory(watched):
    for pod in ("pod-1", "pod-2"):
        scrape = watched.scrape
        assert scrape.sum("scoring_ready", of=pod) == 1
        assert scrape.sum("scoring_store_readable", of=pod) == 1
        assert scrape.sum("scoring_memory_bytes", of=pod) > 2**20
        assert scrape.sum("process_cpu_seconds_total", of=pod) > 0
        assert scrape.sum("scoring_version_unusable", of=pod) == 0


def test_nobody_outside_gets_the_metrics(watched):
    for path in ("/metrics", "/metrics/"):
        assert httpx.get(watched.cluster.url + path, follow_redirects=True).status_code == 404


def test_what_a_killed_process_counted_stays_and_what_it_did_is_forgotten(watched):
    before = watched.scrape
    web = watched.cluster.programs["web"].process.pid
    victim, *_ = children_of(web)
    os.kill(victim, signal.SIGKILL)
    wait_until("another one has taken its place", lambda: victim not in children_of(web) and len(children_of(web)) == 2)
    wait_until("it is ready", lambda: watched.scrape.sum("scorepod_web_threads") == 32)
    after = watched.scrape
    name = "scorepod_requests_total"
    assert after.sum(name) >= before.sum(name) > 0
    assert after.sum("scorepod_requests_in_flight") == 0


def test_limits_that_cannot_be_counted_are_counted(watched):
    [question] = ANSWERED
    watched.redis.stop()
    try:
        assert watched.match(question).status_code == 200
        scrape = watched.scrape
        assert scrape.sum("scorepod_limits_failed_open_total") >= 1
        assert scrape.sum("scorepod_broker_up") == 0
    finally:
        watched.redis.start()
    wait_until("the broker is seen again", lambda: watched.scrape.sum("scorepod_broker_up") == 1)

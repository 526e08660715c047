"""The logs of all processes after a day of the product: what they must hold, and what they must not."""

import json
from urllib.parse import quote

import httpx2 as httpx

from tests.cluster import wait_until
from tests.monitoring.conftest import ANSWERED


def lines_of(watched, name: str) -> list[dict]:
    return [json.loads(line) for line in watched.cluster.programs[name].log.splitlines()]


def written(text: str) -> set[str]:
    """The forms in which a text may come into a log."""
    return {
        text,
        quote(text),
        quote(text, safe=""),
        text.replace(" ", "+"),
        json.dumps(text)[1:-1],
        text.encode().hex(),
    }


def test_each_line_of_each_process_is_one_json_object(watched):
    for name in ("web", "worker", "pod-1", "pod-2"):
        lines = lines_of(watched, name)
        assert len(lines) > 3, name
        assert all(isinstance(line, dict) and line["event"] and line["level"] for line in lines), name


def test_one_id_leads_from_the_browser_to_the_pod(watched):
    for asked in ("page", *ANSWERED):
        request_id = watched.ids[asked]
        [line] = [line for line in lines_of(watched, "web") if line.get("request_id") == request_id]
        assert line["event"] == "request_finished"
        [scored] = [
            line
            for pod in ("pod-1", "pod-2")
            for line in lines_of(watched, pod)
            if line.get("request_id") == request_id
        ]
        assert scored["path"].endswith("/infer")


def test_one_id_leads_from_the_browser_to_the_worker(watched):
    request_id = watched.ids["batch"]
    found = [line for line in lines_of(watched, "worker") if line.get("request_id") == request_id]
    assert {"batch.validate"} <= {line.get("task") for line in found}


def test_an_id_that_the_caller_chose_goes_all_the_way(watched):
    [question] = ANSWERED
    chosen = "my-own-id-0123456789"
    httpx.post(
        f"{watched.cluster.url}/api/v1/faq/match",
        json={"question": question},
        headers={**watched.bearer, "X-Request-ID": chosen},
        timeout=30,
    ).raise_for_status()
    wait_until(
        "pod and site have their lines",
        lambda: sum(f'"{chosen}"' in log for log in watched.logs().values()) == 2,
    )


def test_a_model_that_crashes_leaves_where_and_not_on_what(watched):
    [failed] = [
        line for pod in ("pod-1", "pod-2") for line in lines_of(watched, pod) if line["event"] == "scoring failed"
    ]
    assert "RuntimeError" in failed["exception"]
    assert "obedient.py" in failed["exception"]
    assert failed["request_id"] == watched.ids["crash on my aunt's birthday"]


def test_no_secret_and_nothing_that_was_asked_is_in_any_log_or_trace(watched):
    everything = {**watched.logs(), "traces": b"".join(watched.collector.bodies).decode(errors="replace")}
    assert len(watched.secrets) >= 14
    assert len(watched.asked) >= 8
    found = {
        (name, text)
        for text in (*watched.secrets, *watched.asked)
        for form in written(text)
        for name, log in everything.items()
        if form in log
    }
    assert found == set()


def test_nothing_went_wrong_that_was_not_meant_to(watched):
    """Errors of the day: the model's crash, which was asked for. All else would be a fault of ours."""
    for name in ("web", "worker"):
        lines = map(json.loads, watched.log_of_the_day[name].splitlines())
        assert [line for line in lines if line["level"] in {"error", "critical"}] == [], name

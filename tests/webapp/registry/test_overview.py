"""The start page of the admin, and /status: what they say of models, pods and background work."""

from datetime import timedelta

import httpx2 as httpx
import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from tests.factories import make_member, make_model, make_version
from webapp.registry import overview, services
from webapp.registry.models import Event, Pulse
from webapp.usage.latencies import bucket_of
from webapp.usage.models import Traffic

pytestmark = pytest.mark.django_db

ADMIN, STATUS = "/admin/", "/status"


@pytest.fixture
def faq(scoring):
    """A model whose version 1 answers on the one CPU pod there is."""
    model = make_model(title="JavaScript FAQ")
    make_version(model, "1", "champion")
    return model


@pytest.fixture
def worker():
    return Pulse.objects.create(name="watch", at=timezone.now())


def asked(model: str, requests: int, *, errors: int = 0, ms: float = 20.0, minutes_ago: int = 5):
    at = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    buckets = {str(bucket_of(ms)): requests}
    Traffic.objects.create(
        at=at, seconds=60, model=model, version="1", requests=requests, errors=errors, latency=buckets
    )


def read(client, page: str, **headers: str) -> str:
    cache.clear()  # what two seconds ago was is kept
    answer = client.get(page, headers=headers)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


@pytest.fixture
def viewer_client(client):
    client.force_login(make_member("viewer"))
    return client


# The start page -------------------------------------------------------------------------------------------------------


def test_the_start_page_names_models_with_what_serves_and_their_last_hour(viewer_client, faq, worker):
    make_version(faq, "2", "canary", percent=20)
    make_version(faq, "3", "standby")
    asked("faq-javascript", 1200, errors=24)
    asked("faq-javascript", 999, minutes_ago=90)
    page = read(viewer_client, ADMIN)
    for text in ("JavaScript FAQ", "<b>1</b> champion", "<b>2</b> canary, 20 %", "<b>3</b> standby", "1,200", "2 %"):
        assert text in page, text
    assert reverse("models:model", args=["faq-javascript"]) in page


def test_every_pod_tells_its_state_device_and_memory(viewer_client, scoring, faq, worker):
    scoring.states["cpu"] = {"device": "cpu", "memory": 200_000_000, "memory_limit": 400_000_000}
    scoring.states["gpu"] = {"device": "NVIDIA H200", "ready": False, "reason": "resnet152 is loading"}
    page = read(viewer_client, ADMIN)
    for text in ("cpu-1", "200 MB of 400 MB", "NVIDIA H200", "Not ready", "resnet152 is loading", "faq-javascript 1"):
        assert text in page, text


def test_all_is_well_when_all_is(viewer_client, faq, worker):
    assert 'data-says="All is well."' in read(viewer_client, ADMIN)


def test_a_pool_without_a_ready_pod_is_a_problem_with_its_reason(viewer_client, scoring, faq, worker):
    scoring.states["cpu"] = {"ready": False, "reason": "the store cannot be read"}
    page = read(viewer_client, ADMIN)
    assert "None of the CPU pods is ready, so their models cannot answer. The store cannot be read." in page


def test_pods_that_cannot_be_reached_are_named_and_the_page_opens(viewer_client, scoring, faq, worker, monkeypatch):
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(scoring, "handle_request", refuse)
    page = read(viewer_client, ADMIN)
    assert "No answer" in page
    assert "None of the CPU pods is ready" in page


def test_a_version_that_cannot_be_loaded_is_a_problem_with_its_reason(viewer_client, scoring, faq, worker):
    scoring.models["cpu"][0] |= {"state": "UNAVAILABLE", "reason": "model.npy is damaged"}
    page = read(viewer_client, ADMIN)
    assert "Version 1 of faq-javascript cannot be loaded on 1 pod. model.npy is damaged." in page
    assert "faq-javascript 1, failed" in page


def test_a_model_that_nothing_serves_is_a_problem(viewer_client, scoring, worker):
    make_model("fresh", title="Fresh")
    assert "Fresh has no version that serves" in read(viewer_client, ADMIN)


@pytest.mark.parametrize("seconds", [None, 60])
def test_a_silent_worker_is_a_problem(viewer_client, faq, seconds):
    if seconds:
        Pulse.objects.create(name="watch", at=timezone.now() - timedelta(seconds=seconds))
    page = read(viewer_client, ADMIN)
    assert "No worker is running" in page
    assert "Silent" in page


def test_what_waits_in_the_queues_is_counted(viewer_client, faq, worker):
    from webapp import queues

    queues.send("registry.watch", queue="batch")
    page = read(viewer_client, ADMIN)
    assert "<code>batch</code></dt> <dd>1 waiting</dd>" in page
    assert '<code>default</code></dt> <dd><span class="quiet">empty</span></dd>' in page


def test_what_happened_last_stands_there_with_who_did_it(viewer_client, faq, worker, admin):
    services.record_event(
        faq, Event.Kind.PROMOTED, by=admin, version=faq.versions.get(), reason="Better on long questions"
    )
    page = read(viewer_client, ADMIN)
    for text in ("JavaScript FAQ 1", "promoted", "Better on long questions", admin.email):
        assert text in page, text


def test_staff_without_the_right_to_the_history_do_not_see_it(client, faq, worker, admin, owner):
    services.record_event(faq, Event.Kind.PROMOTED, by=admin, version=faq.versions.get(), reason="Because of a secret")
    owner.is_staff = True
    owner.save()
    client.force_login(owner)
    page = read(client, ADMIN)
    assert "Because of a secret" not in page
    assert reverse("models:model", args=["faq-javascript"]) not in page


def test_a_script_gets_the_figures_alone(viewer_client, faq, worker):
    part = read(viewer_client, ADMIN, **{"HX-Request": "true"})
    assert part.startswith('<div id="overview"')
    assert "JavaScript FAQ" in part
    assert "<html" not in part


def test_however_many_look_the_pods_are_asked_once_in_two_seconds(viewer_client, scoring, faq, worker):
    read(viewer_client, ADMIN)
    before = len(scoring.sent)
    assert before
    for page in (ADMIN, STATUS, ADMIN):
        assert viewer_client.get(page).status_code == 200
    assert len(scoring.sent) == before


# The status page ------------------------------------------------------------------------------------------------------


def test_everybody_signed_in_sees_the_status_and_nobody_else(client_of_nobody, owner_client, faq):
    assert client_of_nobody.get(STATUS)["Location"] == f"{reverse('account_login')}?next={STATUS}"
    page = read(owner_client, STATUS)
    for text in ("JavaScript FAQ", "<b>1</b> champion", "cpu-1", "Answers"):
        assert text in page, text
    assert f'href="{STATUS}"' in owner_client.get("/faq/").content.decode()


def test_the_last_hour_is_told_in_figures_and_charts(owner_client, faq):
    asked("faq-javascript", 96, ms=20)
    asked("faq-javascript", 4, errors=4, ms=400, minutes_ago=10)
    page = read(owner_client, STATUS)
    assert "<dd>96 %</dd>" in page
    assert "<dd>100</dd>" in page
    assert "Share answered. Answered: from 0 % to 100 %" in page
    assert "Some requests fail" in page


def test_an_hour_without_requests_says_so(owner_client, faq):
    page = read(owner_client, STATUS)
    assert "Nobody has asked it in the last hour" in page


@pytest.mark.parametrize(
    ("state", "words"),
    [({"ready": False}, "No pod is ready"), ({"versions": []}, "Version 1 is loading")],
)
def test_the_status_says_what_keeps_a_model_from_answering(owner_client, scoring, faq, state, words):
    scoring.states["cpu"] = state
    assert words in read(owner_client, STATUS)


def test_a_model_that_nothing_serves_says_so_on_the_status_page(owner_client, scoring):
    make_model("fresh")
    assert "No version serves" in read(owner_client, STATUS)


def test_without_models_the_status_says_what_will_be_there(owner_client, scoring):
    assert "No models yet" in read(owner_client, STATUS)


def test_the_status_page_shows_neither_addresses_nor_what_happened(owner_client, faq, admin):
    services.record_event(faq, Event.Kind.PROMOTED, by=admin, version=faq.versions.get(), reason="Because of a secret")
    page = read(owner_client, STATUS)
    assert "cpu.test" not in page
    assert "secret" not in page


def test_the_overview_reads_few_rows_however_long_the_hour(faq, worker, django_assert_max_num_queries):
    for minute in range(1, 60):
        asked("faq-javascript", 10, minutes_ago=minute)
    cache.clear()
    with django_assert_max_num_queries(10):
        assert overview.now().models[0].totals.requests == 590

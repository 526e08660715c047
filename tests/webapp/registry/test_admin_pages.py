"""What the pages of models and versions show."""

import zipfile
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from tests.factories import make_member, make_model, make_version, picture
from webapp.registry import services
from webapp.registry.models import Check, Event, ShadowComparison, Version
from webapp.registry.publishing import publish
from webapp.usage.models import Traffic

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("pods")]

MODEL = "/admin/models/faq-javascript/"
MEASURED = {
    "measured": True,
    "champion": {"version": "1"},
    "differences": [
        {"metric": "accuracy_at_1", "title": "Accuracy@1", "unit": "share", "higher_is_better": True,
         "candidate": 0.93, "champion": 0.95, "difference": -0.02, "better": False, "worse_than_tolerated": True},
        {"metric": "no_answer_auroc", "title": "No-answer AUROC", "unit": "score", "higher_is_better": True,
         "candidate": 0.9, "champion": None, "difference": None, "better": None, "worse_than_tolerated": False},
        {"metric": "p95_ms", "title": "Latency p95", "unit": "ms", "higher_is_better": False,
         "candidate": 3.1, "champion": 3.5, "difference": -0.4, "better": True, "worse_than_tolerated": False},
        {"metric": "brier", "title": "Brier score", "unit": "score", "higher_is_better": False,
         "candidate": 0.0122, "champion": 0.0121, "difference": 0.0001, "better": False, "worse_than_tolerated": False},
    ],
    "verdict": {"worse": ["Accuracy@1 is 93 %, 2.0 points below version 1."], "summary": "Worse."},
    "paired": {"won": 1, "lost": 9, "chance": 0.02},
    "reliability": {"candidate": [{"from": 0.9, "to": 1.0, "count": 9, "probability": 0.97, "accuracy": 0.9}],
                    "champion": None},
    "accuracy_at_k": {"candidate": [[1, 0.93], [2, 0.95]], "champion": [[1, 0.95], [2, 0.96]]},
    "latency": {"candidate": {"count": 9, "p50": 2.0, "p95": 3.1, "p99": 4.0, "mean": 2.1,
                              "histogram": [{"from": 1.0, "to": 2.0, "count": 9}]}, "champion": None},
    "confusion": None,
    "disagreements": {"lost": 9, "won": 1, "different": 0, "examples": [
        {"kind": "lost", "input": "how do I <b>clone</b> it", "expected": {"id": "js-1", "label": "Copy an array"},
         "candidate": [], "candidate_failure": "The pod gave no answer.",
         "champion": [{"id": "js-1", "label": "Copy an array", "probability": 0.7}]}]},
    "failures": [{"input": "how do I <b>clone</b> it", "reason": "The pod gave no answer."}],
}  # fmt: skip


@pytest.fixture
def viewer() -> Client:
    client = Client()
    client.force_login(make_member("viewer"))
    return client


@pytest.fixture
def champion(model) -> Version:
    version = make_version(model, "1", "champion")
    publish(model)
    return version


def page(client: Client, path: str = "") -> str:
    """The page's words, in one line."""
    answer = client.get(f"{MODEL}{path}")
    assert answer.status_code == 200, answer.content
    return " ".join(answer.content.decode().split())


def check_of(version: Version, state: str, **fields) -> Check:
    return Check.objects.create(version=version, state=state, **fields)


# The list -------------------------------------------------------------------------------------------------------------


def test_every_model_is_listed_with_what_serves_and_what_is_tried(viewer, model, champion):
    make_version(model, "2", "canary")
    make_model("digits", kind="image", pool="gpu")
    shown = " ".join(viewer.get("/admin/models/").content.decode().split())
    assert "Canary 2, 10 %" in shown
    assert "nothing yet" in shown
    assert "Add a model" not in shown


def test_an_admin_adds_a_model_and_is_told_what_is_wrong_with_it(model):
    admin = Client()
    admin.force_login(make_member("admin"))
    fields = {"name": "faq-support", "title": "Support", "kind": "faq", "pool": "cpu"}
    assert admin.post("/admin/models/", fields)["Location"] == "/admin/models/faq-support/"
    for bad in ({**fields}, {**fields, "name": "a b"}, {**fields, "name": "x", "kind": "poem"}):
        answer = admin.post("/admin/models/", bad)
        assert answer.status_code == 422
        assert "field-error" in answer.content.decode()


@pytest.mark.parametrize("path", ["", "add/", "{pk}/change/", "{pk}/history/"])
def test_djangos_own_pages_of_models_lead_to_ours(model, path):
    admin = Client()
    admin.force_login(make_member("admin"))
    answer = admin.get(f"/admin/registry/scoringmodel/{path.format(pk=model.pk)}")
    assert answer["Location"] == (MODEL if "pk" in path else "/admin/models/")


# A model --------------------------------------------------------------------------------------------------------------


def test_a_model_without_anything_says_what_comes_next(viewer, model):
    shown = page(viewer)
    for words in ("Nothing serves yet", "No version yet", "Nothing has happened yet"):
        assert words in shown


def test_what_serves_is_shown_with_its_pods_and_its_last_hour(viewer, model, champion, pods):
    Traffic.objects.create(at=timezone.now(), model=model.name, version="1", requests=40, errors=2, latency={"20": 38})
    page(viewer)  # the pods look at the store when they are asked
    shown = page(viewer)
    assert "2 of 2" in shown
    assert "2 (5 %)" in shown
    pods[0].there = pods[1].there = False
    assert "No pod is ready" in page(viewer)


def test_a_canary_is_shown_beside_the_champion_and_judged(viewer, model, champion):
    make_version(model, "2", "canary")
    Traffic.objects.create(at=timezone.now(), model=model.name, version="1", requests=1040)
    shown = page(viewer)
    assert "Canary: version 2 beside 1" in shown
    assert '<th scope="row">Requests</th><td class="number">0</td><td class="number">1,040</td>' in shown
    assert "Too few requests to judge" in shown
    assert 'data-every="3"' in shown


def test_a_shadow_is_shown_with_its_agreement(viewer, model, champion):
    make_version(model, "2", "shadow")
    at = {"at": timezone.now(), "champion": "1", "shadow": "2"}
    for agrees in (True, True, True, False):
        ShadowComparison.objects.create(
            model=model,
            agrees=agrees,
            champion_probability=0.5,
            shadow_probability=0.6,
            champion_ms=2,
            shadow_ms=3,
            **at,
        )
    ShadowComparison.objects.create(model=model, failure="scoring-timeout", **at)
    shown = page(viewer)
    assert "75 %" in shown
    assert "+10.0 points" in shown
    assert "scoring-timeout" in shown


def test_of_many_versions_the_newest_and_those_in_use_are_listed_until_all_are_asked_for(viewer, model, champion):
    for number in range(2, 32):
        make_version(model, str(number))
    shown = page(viewer)
    assert 'id="version-31"' in shown
    assert 'id="version-1"' in shown
    assert 'id="version-2"' not in shown
    assert "Show all 31 versions" in shown
    assert 'id="version-2"' in page(viewer, "?versions=all")


def test_the_moving_part_is_sent_again_only_when_it_differs(viewer, model, champion):
    page(viewer, "live")  # the pods look at the store when they are asked
    seen = viewer.get(f"{MODEL}live").context["seen"]
    assert viewer.get(f"{MODEL}live", {"seen": seen}).status_code == 204
    make_version(model, "2")
    answer = viewer.get(f"{MODEL}live", {"seen": seen})
    assert (answer.status_code, "Version 2" in answer.content.decode()) == (200, True)


def test_the_page_is_told_when_its_history_is_no_longer_all(viewer, model, champion):
    page(viewer, "live")
    latest = viewer.get(f"{MODEL}live").context["latest"]
    assert "HX-Trigger-After-Swap" not in viewer.get(f"{MODEL}live", {"latest": latest})
    services.record_event(model, Event.Kind.SETTINGS, by=None)
    assert viewer.get(f"{MODEL}live", {"latest": latest})["HX-Trigger-After-Swap"] == "history-changed"


def test_what_served_at_a_moment(viewer, model, champion):
    services.record_event(model, Event.Kind.ADOPTED, by=None, version=champion)
    make_version(model, "2", "canary")
    services.record_event(model, Event.Kind.CANARY_STARTED, by=None)
    now = timezone.now() + timedelta(seconds=1)
    # As a browser's field sends it, in UTC; and as programs write it.
    for at in (f"{now:%Y-%m-%dT%H:%M:%S}", (now + timedelta(seconds=1)).isoformat().replace("+", "%2B")):
        shown = page(viewer, f"?at={at}")
        assert "<strong>Version 1</strong> answered 90 %" in shown
        assert "version <strong>2</strong> as the canary 10 %" in shown
    assert "history begins later" in page(viewer, "?at=2020-01-01T00:00")
    for nonsense in ("yesterday", "0001-01-01T00:00:00%2B14:00"):
        assert "Write it as 2026-01-31T14:05:00" in page(viewer, f"?at={nonsense}")
    tomorrow = page(viewer, f"?at={now + timedelta(days=1):%Y-%m-%dT%H:%M:%S}")
    assert "This moment has not come yet." in tomorrow
    assert "answered 90 %" not in tomorrow


def test_the_history_is_filtered_and_paged(viewer, model, champion):
    person = make_member("operator")
    for number in range(25):
        services.record_event(model, Event.Kind.SETTINGS, by=person, reason=f"settings {number}.")
    services.record_event(model, Event.Kind.PROMOTED, by=None, version=champion, reason="by nobody")
    first = page(viewer)
    assert "by nobody" in first
    assert "settings 24." in first
    assert "settings 3." not in first
    older = viewer.get(MODEL).context["next_cursor"]
    assert "settings 3." in page(viewer, f"?before={older}")
    assert "settings" not in page(viewer, "?kind=promoted").split("event-body")[1]
    assert "by nobody" not in page(viewer, f"?actor={person.email[:5].upper()}")
    assert "by nobody" in page(viewer, "?version=1")
    assert "Nothing fits" in page(viewer, "?kind=retired&version=1")
    assert "by nobody" in page(viewer, "?kind=nonsense&version=nonsense"), "what makes no sense is left out of account"
    assert viewer.get(f"{MODEL}?before=nonsense").status_code == 422


@pytest.mark.parametrize("path", ["", "?at=2036-01-01T00:00", "versions/1/"])
def test_only_those_who_may_see_the_history_are_shown_it(viewer, model, champion, path):
    by = make_member("admin")
    services.record_event(model, Event.Kind.REGISTERED, by=by, version=champion, reason="Found in the shed.")
    assert "Found in the shed." in page(viewer, path)
    Group.objects.get(name="viewer").permissions.remove(Permission.objects.get(codename="view_event"))
    shown = page(viewer, path)
    assert "Version 1" in shown
    for kept in ("Found in the shed.", by.email, "What served at this moment?"):
        assert kept not in shown


def test_settings_are_changed_and_the_change_is_in_the_history(model):
    admin = Client()
    admin.force_login(make_member("admin"))
    fields = {"title": "JavaScript", "quality_tolerance": 2, "latency_tolerance": 50, "error_factor": 2,
              "latency_factor": 2, "least_requests": 100}  # fmt: skip
    answer = admin.post(f"{MODEL}settings", {**fields, "error_factor": 0})
    assert (answer.status_code, "field-error" in answer.content.decode()) == (422, True)
    assert not model.events.exists()
    assert admin.post(f"{MODEL}settings", fields)["Location"] == MODEL
    model.refresh_from_db()
    assert (model.title, model.quality_tolerance) == ("JavaScript", 2)
    assert "1.0 → 2.0" in page(admin)


# A version ------------------------------------------------------------------------------------------------------------


def test_a_check_is_shown_while_it_runs_and_the_page_rests_when_it_is_done(viewer, model, champion):
    version = make_version(model, "2", state="checking")
    steps = [{"name": "files", "title": "Checksums", "state": "running", "detail": "2 of 3 files", "progress": 0.5,
              "started_at": None, "seconds": None}]  # fmt: skip
    check = check_of(version, "running", progress=0.25, steps=steps)
    shown = page(viewer, "versions/2/live")
    for words in ("Check in progress", "25 %", "2 of 3 files", 'data-every="1"'):
        assert words in shown
    check.state, check.finished_at = "passed", timezone.now()
    check.save()
    shown = page(viewer, "versions/2/live")
    assert "Check passed" in shown
    assert "data-every" not in shown


def test_a_version_says_who_registered_it_how_it_was_measured_and_when_it_last_passed(viewer, model, champion, owner):
    services.record_event(model, Event.Kind.ADOPTED, by=None, version=champion)
    manifest = {"metrics": {"accuracy_at_1": 0.987, "questions": 1224, "reliability": [{"from": 0.9}]}}
    Version.objects.filter(pk=champion.pk).update(manifest=manifest)
    shown = page(viewer, "versions/1/")
    assert "<li>Accuracy@1: 98.7 %</li><li>questions: 1,224</li></ul>" in shown
    assert "found in the model store" in shown
    assert '<dt>Last passed</dt><dd><span class="quiet">never</span>' in shown  # though it serves

    version = make_version(model, "2")
    now = timezone.now()
    check_of(version, "passed", started_at=now, finished_at=now)
    services.record_event(model, Event.Kind.REGISTERED, by=owner, version=version)
    address = owner.email
    owner.delete()
    shown = page(viewer, "versions/2/")
    assert f"</time> by {address}" in shown
    assert "found in the model store" not in shown
    assert "<dt>Last passed</dt><dd><time" in shown


def test_a_report_is_shown_side_by_side(viewer, model, champion):
    check_of(make_version(model, "2"), "passed", champion=champion, report=MEASURED)
    shown = page(viewer, "versions/2/")
    for words in ("−2.0 points", "more than tolerated", "−0.4 ms", "0.900", "Accuracy@1 is 93 %, 2.0 points below",
                  "so it is no chance", "The pod gave no answer.", "how do I &lt;b&gt;clone&lt;/b&gt; it"):  # fmt: skip
        assert words in shown
    assert "The first 1 are shown" in shown, "of ten disagreements"
    assert '<td class="number difference-">±0.000</td>' in shown, "too small to be read, so neither better nor worse"


def test_of_many_disagreements_ten_are_open(viewer, model, champion):
    counts = MEASURED["disagreements"]
    examples = [{**counts["examples"][0], "input": f"question {number}"} for number in range(12)]
    report = {**MEASURED, "paired": {"won": 0, "lost": 221, "chance": 0.0},
              "disagreements": {**counts, "lost": 220, "examples": examples}}  # fmt: skip
    check_of(make_version(model, "2"), "passed", champion=champion, report=report)
    shown = page(viewer, "versions/2/")
    assert "The first 12 are shown" in shown
    before, _, folded = shown.partition("<summary>2 more</summary>")
    assert ("question 9<" in before, "question 10<" in before, "question 10<" in folded) == (True, False, True)
    assert "that happens in &lt; 0.1 % of cases, so it is no chance" in shown


@pytest.mark.parametrize(
    "report",
    [
        pytest.param({}, id="nothing yet"),
        pytest.param({"reason": "It is damaged."}, id="failed early"),
        pytest.param(
            {"measured": False, "note": "There is no set.", "verdict": {"worse": [], "summary": ""}}, id="no set"
        ),
        pytest.param(
            {**MEASURED, "champion": None, "paired": None, "disagreements": None}, id="nothing to compare with"
        ),
        pytest.param({**MEASURED, "reliability": None, "accuracy_at_k": None, "latency": None}, id="without charts"),
    ],
)
@pytest.mark.parametrize("state", ["running", "passed", "failed", "cancelled"])
def test_a_report_that_lacks_something_is_shown_as_far_as_it_goes(viewer, model, champion, report, state):
    check_of(make_version(model, "2"), state, report=report)
    assert report.get("note", "") in page(viewer, "versions/2/")


def test_an_earlier_check_can_be_looked_at(viewer, model, champion):
    version = make_version(model, "2")
    earlier = check_of(version, "failed", report={"reason": "The store was away."})
    check_of(version, "passed", report={"note": "All is well."})
    assert "All is well." in page(viewer, "versions/2/")
    shown = page(viewer, f"versions/2/?check={earlier.pk}")
    assert "The store was away." in shown
    assert "an earlier one" in shown
    for nonsense in ("999999", "x", "9" * 30):
        assert "All is well." in page(viewer, f"versions/2/?check={nonsense}")


def test_an_image_models_report_shows_what_it_confuses(viewer):
    digits = make_model("digits", kind="image", pool="gpu")
    labels = [{"label_id": "d0", "label": "zero"}, {"label_id": "d1", "label": "one"}]
    version = make_version(digits, "1", labels=labels)
    pairs = {"pairs": [{"expected": labels[0], "answered": labels[1], "candidate": 7, "champion": None}]}
    example = {**MEASURED["disagreements"]["examples"][0], "input": "a/1.png"}
    matrices = {"candidate": [[31, 2], [0, 30]], "champion": [[27, 6], [1, 29]]}
    for confusion, figures in (({"labels": labels, **matrices}, (31, 27)), (pairs, (7,))):
        report = {**MEASURED, "confusion": confusion, "disagreements": {"lost": 1, "examples": [example]}}
        check_of(version, "passed", report=report)
        shown = " ".join(viewer.get("/admin/models/digits/versions/1/").content.decode().split())
        assert "/admin/models/digits/evaluation-set/picture?file=a%2F1.png" in shown
        assert "zero" in shown
        assert [figure for figure in figures if f">{figure}</td>" not in shown] == []


def test_pictures_of_the_evaluation_set_are_shown_and_nothing_else_in_it(viewer, model_store):
    make_model("digits", kind="image", pool="gpu")
    path = "/admin/models/digits/evaluation-set/picture"
    assert viewer.get(path, {"file": "a/1.png"}).status_code == 404
    (model_store / "digits").mkdir()
    with zipfile.ZipFile(model_store / "digits" / "evaluation.zip", "w") as packed:
        packed.writestr("labels.csv", "file,label_id\na/1.png,d0\n")
        packed.writestr("a/1.png", picture().read())
        packed.writestr("a/2.svg", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    answer = viewer.get(path, {"file": "a/1.png"})
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
    for other in ("a/2.svg", "labels.csv", "../routing.json", ""):
        assert viewer.get(path, {"file": other}).status_code == 404

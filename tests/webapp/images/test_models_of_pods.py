"""Which image models there are, as real pods tell of several versions of each."""

import pytest

from tests.factories import make_model, make_version
from tests.pods import start_pod
from tests.scoring_service import obedient
from tests.scoring_service.conftest import OBEDIENT
from webapp.images.queries import image_model, image_models
from webapp.scoring.client import scoring_client

IMAGES = {"kind": "image", "pool": "gpu"}


@pytest.fixture
def pod(tmp_path, settings):
    """A pod with the sample model digits, version 1 of it."""
    obedient.write(tmp_path, "digits", **IMAGES, title="Digits")
    with start_pod(tmp_path, "gpu", command=OBEDIENT, SCORING_TOKEN="") as pod:
        settings.SCORING_GPU_URL, settings.SCORING_TOKEN = pod.url, ""
        scoring_client.cache_clear()
        yield pod
        scoring_client().close()
    scoring_client.cache_clear()


@pytest.fixture
def listed(monkeypatch):
    """Call it for the image models as they are now."""
    monkeypatch.setattr("webapp.scoring.listing.FRESH", 0.0)
    return lambda: {model.name: model for model in scoring_client().models_of("image").models}


@pytest.mark.django_db
def test_a_model_is_not_offered_before_its_first_version_serves(pod, listed):
    make_version(make_model("digits", kind="image", pool="gpu"), "1", "champion")
    photos = make_model("photos", kind="image", pool="gpu")
    version = make_version(photos, "1")
    obedient.write(pod.store, "photos", champion=False, **IMAGES, sample=False)
    obedient.route(pod.store, "", model="photos", warm=["1"])
    pod.wait_until("has it", lambda pod: pod.role("photos", "1") == "READY warm")
    found = listed()["photos"]
    assert (found.version, found.ready, found.reason) == ("", False, "no version of photos serves yet")
    assert [model.name for model in image_models()] == ["digits"]

    obedient.route(pod.store, "1", model="photos")
    version.state, version.role = "serving", "champion"
    version.save()
    pod.wait_until("serves it", lambda pod: pod.role("photos", "1") == "READY champion")
    assert image_model(None).name == "photos"


def test_the_version_that_answers_is_the_one_that_is_told(pod, listed):
    for title in ("Second", "Third"):
        obedient.write(pod.store, "digits", champion=False, **IMAGES, title=title)
    obedient.route(pod.store, "2", model="digits", standby="1", warm=["3"])
    pod.wait_until("has all", lambda pod: pod.role("digits", "3") == "READY warm")
    found = listed()["digits"]
    assert (found.version, found.title, found.ready) == ("2", "Second", True)


def test_where_the_champion_cannot_the_standby_that_answers_is_told(pod, listed):
    obedient.write(pod.store, "digits", champion=False, **IMAGES, smoke=[{"text": "refuse"}])
    obedient.route(pod.store, "2", model="digits", standby="1")
    pod.wait_until("has tried", lambda pod: pod.role("digits", "2") == "UNAVAILABLE champion")
    assert (listed()["digits"].version, listed()["digits"].ready) == ("1", True)

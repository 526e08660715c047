"""A model store in a folder of the test, and pods that follow it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webapp.registry.following_pods import FollowingPods
from webapp.registry import queries
from webapp.registry.models import ScoringModel, Version
from webapp.scoring import fleet


@pytest.fixture(autouse=True)
def fresh_shadows():
    """Which versions are shadows is remembered for two seconds; each test begins with nothing remembered."""
    queries.forget_shadows()


@pytest.fixture
def model_store(settings, tmp_path) -> Path:
    settings.MODEL_STORE = tmp_path / "models"
    settings.MODEL_STORE.mkdir()
    return settings.MODEL_STORE


@pytest.fixture
def pods(settings, monkeypatch, model_store) -> Iterator[FollowingPods]:
    """Two CPU pods that answer from memory and follow the store's routing files."""
    pods = FollowingPods(model_store)
    settings.SCORING_CPU_PODS = pods.addresses
    monkeypatch.setattr("webapp.scoring.pods.new_transport", lambda _limits: pods)
    fleet.close()
    yield pods
    fleet.close()


@pytest.fixture
def model(model_store) -> ScoringModel:
    (model_store / "faq-javascript").mkdir()
    return ScoringModel.objects.create(name="faq-javascript", kind="faq", pool="cpu")


@pytest.fixture
def lose_messages(settings):
    """Call it to have every task forgotten that waits for a worker."""
    return lambda: shutil.rmtree(settings.BROKER_DIR, ignore_errors=True)


def versions_of(model: ScoringModel) -> dict[str, tuple[str, str]]:
    """State and role of each version."""
    return {version.name: (version.state, version.role) for version in Version.objects.filter(model=model)}

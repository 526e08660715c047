"""`manage.py register_version`, and what happens when an upload is registered."""

import os
import pwd
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.factories import make_version
from tests.webapp.registry.conftest import versions_of
from tests.webapp.registry.packing import lay, manifest, pack
from webapp.errors import StoreError
from webapp.registry import adoption, artifacts, services
from webapp.registry.models import Check, ScoringModel, Version
from webapp.scoring import store

pytestmark = pytest.mark.django_db(transaction=True)


def register(*arguments: object) -> str:
    said = StringIO()
    call_command("register_version", *map(str, arguments), stdout=said)
    return said.getvalue()


def test_a_zip_becomes_the_next_version_and_its_check_starts(model, model_store, tmp_path):
    make_version(model, "6", state="retired")
    archive = pack(tmp_path, {"entries.json": b"[]", "manifest.json": manifest(metrics={"mrr": 0.9}, version="99")})
    said = register(model.name, "--zip", archive, "--notes", " From last night. ")
    assert said == "faq-javascript version 7 is registered. Its check has started.\n"
    version = Version.objects.get(name="7")
    assert (version.state, version.notes, version.size) == ("checking", "From last night.", 2)
    assert version.manifest["metrics"] == {"mrr": 0.9}
    assert version.manifest["files"]["entries.json"]["size"] == 2
    assert (model_store / model.name / "7" / "entries.json").read_bytes() == b"[]"
    assert not list((model_store / model.name).glob(".staged-*"))
    events = [(event.kind, event.from_state, event.to_state) for event in model.events.order_by("pk")]
    assert events == [("registered", "", "registered"), ("check_started", "registered", "checking")]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert {event.actor for event in model.events.all()} == {f"{user} at the command line"}


def test_a_folder_makes_a_new_model_when_its_kind_and_pool_are_named(model_store, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(manifest(kind="tensors"))
    with pytest.raises(CommandError, match="Name --kind and --pool"):
        register("mine", "--folder", folder)
    register("mine", "--folder", folder, "--kind", "tensors", "--pool", "cpu", "--no-check")
    assert versions_of(ScoringModel.objects.get()) == {"1": ("registered", "")}
    assert folder.exists()


def test_a_version_that_lies_in_the_store_is_taken_up_by_name(model, model_store):
    lay(model_store, model.name, "nightly")
    register(model.name, "--stored", "nightly", "--no-check")
    assert versions_of(model) == {"nightly": ("registered", "")}
    with pytest.raises(CommandError, match="registered already"):
        register(model.name, "--stored", "nightly")
    with pytest.raises(CommandError, match="manifest"):
        register(model.name, "--stored", "weekly")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "image"}, "manifest.json says kind “image”"),
        ({"pool": "gpu"}, "manifest.json says pool “gpu”"),
        ({"kind": "sound"}, "manifest.json"),
        ({"runtime": 7}, "manifest.json"),
        ({"smoke": "all"}, "manifest.json"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_and_nothing_is_left(model, model_store, tmp_path, fields, why):
    with pytest.raises(CommandError, match=why):
        register(model.name, "--zip", pack(tmp_path, {"manifest.json": manifest(**fields)}))
    assert list((model_store / model.name).iterdir()) == []
    assert not Version.objects.exists()


def test_a_zip_that_is_refused_says_why(model, tmp_path):
    with pytest.raises(CommandError, match="outside of the version's folder"):
        register(model.name, "--zip", pack(tmp_path, {"../evil": b"x"}))
    with pytest.raises(CommandError, match="There is no file"):
        register(model.name, "--zip", tmp_path / "nothing.zip")


def test_when_the_watch_comes_upon_the_folder_first_it_is_registered_all_the_same(
    model, model_store, tmp_path, owner, monkeypatch
):
    staged = artifacts.unpack(pack(tmp_path, {"entries.json": b"[]"}), model)
    place = store.place

    def place_and_watch(*arguments, **options):
        placed = place(*arguments, **options)
        adoption.adopt_store()
        return placed

    monkeypatch.setattr("webapp.scoring.store.place", place_and_watch)
    version = services.register_folder(model, staged, by=owner, notes="Mine.")
    version.refresh_from_db()
    assert (version.registered_by, version.notes, version.state) == (owner, "Mine.", "checking")
    assert Check.objects.count() == 1
    kinds = [event.kind for event in model.events.order_by("pk")]
    assert kinds == ["adopted", "check_started", "registered"]


def test_an_upload_whose_process_was_killed_after_it_was_placed_turns_up_by_itself(model, model_store, tmp_path):
    staged = artifacts.unpack(pack(tmp_path, {"entries.json": b"[]"}), model)
    store.place(model.name, staged, store.manifest_in(staged))  # and then the process dies
    adoption.adopt_store()
    assert versions_of(model) == {"1": ("checking", "")}


def test_a_store_that_is_away_is_an_error_that_says_so(model, model_store, tmp_path):
    archive = pack(tmp_path, {})
    model_store.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        artifacts.unpack(archive, model)
    with pytest.raises(StoreError):
        services.register_stored(model, "1", by=None)

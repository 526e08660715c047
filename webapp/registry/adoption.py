"""Taking up what lies in the model store and no row knows: of trainers on the command line, or from another database.

A model without a champion takes over the one that its routing file names, because it serves already. Versions after it
go through the gate; those before it wait until somebody wants one, for a check loads its version on every pod.
"""

import structlog
from django.db import DataError, transaction
from django.db import Error as DatabaseError

from webapp.errors import AppError, StoreError
from webapp.registry import evaluation_sets, publishing, queries, services
from webapp.registry.models import Event, ScoringModel, Version
from webapp.scoring import store

log = structlog.get_logger(__name__)

# What has been said of the store once and need not be said again every two seconds.
_said: set[tuple[str, str]] = set()


def adopt_store() -> None:
    """Looks through the whole store. What is wrong with one model is logged and holds up no other."""
    try:
        names = store.list_models()
    except StoreError as error:
        log.warning("store_not_read", error=error.detail)
        return
    for name in names:
        try:
            _adopt_model(name)
        except (AppError, DatabaseError, OSError) as error:
            log.warning("model_not_adopted", model=name, error=str(error))


def _adopt_model(name: str) -> None:
    model = ScoringModel.objects.filter(name=name).first()
    rows = {version.name: version for version in model.versions.select_related("model")} if model else {}
    found = store.list_versions(name)
    champion = next((version for version in rows.values() if version.role == Version.Role.CHAMPION), None)
    serving = "" if champion and champion.name in found else _serving(name)
    unknown = [version for version in found if version not in rows]
    manifests = {version: manifest for version in unknown if (manifest := _manifest(name, version))}
    if manifests and model is None:
        model = _new_model(manifests.get(serving) or list(manifests.values())[-1])
    if model is None:
        return
    # The champion first: the others are checked beside it.
    for version, manifest in sorted(manifests.items(), key=lambda item: item[0] != serving):
        try:
            _adopt(model, manifest, champion=version == serving)
        except (DataError, OverflowError) as error:  # what no row can hold, such as a size beyond all numbers
            _say_once("version_not_adopted", name, version, str(error))
    if serving in rows and rows[serving].state in publishing.ADOPTABLE:
        _adopt(model, rows[serving].manifest, champion=True)
    for version in found:
        if version in rows and rows[version].artifact_deleted_at and version != serving:
            _delete_again(rows[version])
    if champion and serving in found:
        _begin_anew(champion, serving)
    elif champion and champion.name in found:
        _compare(champion)
    evaluation_sets.adopt(model)


def _begin_anew(champion: Version, serving: str) -> None:
    """Follows a model's folder that was deleted and filled again: its champion is gone, and another serves."""
    with transaction.atomic():
        model = services.locked(champion.model)
        if queries.champion_of(model) == champion:
            version = model.versions.select_related("model").get(name=serving)
            services.replace_lost_champion(champion, version, store.read_manifest(model.name, serving))


def _compare(champion: Version) -> None:
    """The same where the version that was trained again has the number of the old champion."""
    manifest = _manifest(champion.model.name, champion.name)
    if manifest and champion.manifest and manifest["files"] != champion.manifest.get("files"):
        with transaction.atomic():
            services.locked(champion.model)
            services.take_other_files(champion, manifest)


def _serving(name: str) -> str:
    routing = store.read_routing(name)
    return routing.champion if routing else ""


def _manifest(model: str, version: str) -> dict[str, object] | None:
    """What the version says of itself; None when that makes no sense."""
    try:
        return store.read_manifest(model, version)
    except store.StoreUnavailable:
        raise
    except StoreError as error:
        _say_once("version_not_adopted", model, version, error.detail)
        return None


def _new_model(manifest: dict[str, object]) -> ScoringModel:
    fields = {"kind": manifest["kind"], "pool": manifest["pool"], "title": str(manifest["title"])[:200]}
    return ScoringModel.objects.get_or_create(name=manifest["model"], defaults=fields)[0]


def _adopt(model: ScoringModel, manifest: dict[str, object], *, champion: bool) -> None:
    """Gives the version a row, and service if it serves; otherwise the gate decides."""
    with transaction.atomic():
        model = services.locked(model)
        version, new = services.take_in(model, manifest)
        if champion and version.state in publishing.ADOPTABLE and queries.champion_of(model) is None:
            services.take_as_champion(version)
        elif new:
            services.record_event(model, Event.Kind.ADOPTED, by=None, version=version, to_state=version.state)
            if not _is_older(version, queries.champion_of(model)):
                services.start_check(version, by=None)


def _is_older(version: Version, champion: Version | None) -> bool:
    """Whether the champion came after it, as far as their numbers tell."""
    if champion is None or not (version.name.isdecimal() and champion.name.isdecimal()):
        return False
    return int(version.name) < int(champion.name)


def _delete_again(version: Version) -> None:
    """Deletes an artifact whose deletion was cut short, unless somebody has put another one there since."""
    there = _manifest(version.model.name, version.name)
    if there is None:
        return
    if there == version.manifest:
        services.discard_artifact(version)
    else:
        why = "The version of that number is retired and deleted. Register this one anew, under its own number."
        _say_once("version_not_adopted", version.model.name, version.name, why)


def _say_once(event: str, model: str, version: str, error: str) -> None:
    if (key := (f"{model}/{version}", error)) not in _said:
        _said.add(key)
        log.warning(event, model=model, version=version, error=error)

"""Every change to what serves. Each takes the model's row for itself, looks whether the change still fits, appends the
events that tell of it, and publishes when the transaction has ended.

What no longer fits is a Conflict with a sentence for people: a second click does nothing twice.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from webapp import queues
from webapp.accounts.models import User
from webapp.audit import recording
from webapp.errors import Conflict, InvalidInput, StoreError
from webapp.registry import hindrances, queries, shadow, trials
from webapp.registry.models import MOST_CANARY, Check, Event, Rollout, ScoringModel, Version
from webapp.registry.publishing import publish_on_commit
from webapp.scoring import store

log = structlog.get_logger(__name__)

Kind, Role, State = Event.Kind, Version.Role, Version.State
# Of these the security log says that they happened, and which event of the history tells the rest.
AUDITED = {Kind.PROMOTED, Kind.ROLLED_BACK, Kind.CANARY_STARTED, Kind.RETIRED, Kind.ARTIFACT_DELETED, Kind.SETTINGS}
SETTINGS = ("title", "quality_tolerance", "latency_tolerance", "error_factor", "latency_factor", "least_requests")


@dataclass(frozen=True)
class Actor:
    """A person as a row remembers them; their account may be gone by now.

    email: or who they are at the command line, where nobody signs in.
    """

    email: str
    pk: int | None

    @classmethod
    def at_command_line(cls) -> "Actor":
        """Whoever runs this command, by the name that the system knows them by."""
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user may have none
            name = f"user {os.getuid()}"
        return cls(f"{name} at the command line", None)

    @classmethod
    def of(cls, rollout: Rollout) -> "Actor | None":
        """Whoever began the rollout."""
        return cls(rollout.started_by, rollout.actor_id) if rollout.started_by else None


Who = User | Actor | None


def locked(model: ScoringModel) -> ScoringModel:
    """The model's row as it is now, kept from all others until the transaction ends."""
    return ScoringModel.objects.select_for_update().get(pk=model.pk)


# Models ---------------------------------------------------------------------------------------------------------------


def create_model(*, name: str, kind: str, pool: str, title: str = "", by: Who) -> ScoringModel:
    """A model without a version yet. Raises InvalidInput that names each field."""
    model = ScoringModel(name=name.strip(), kind=kind, pool=pool, title=title.strip())
    _validate(model)
    try:
        with transaction.atomic():
            model.save()
    except IntegrityError as error:  # somebody was quicker with that name
        taken = {"name": "Model with this Name already exists."}
        raise InvalidInput("Some fields are not valid.", fields=taken) from error
    log.info("model_created", model=model.name, by=_address(by))
    return model


def change_settings(model: ScoringModel, *, by: Who, **fields: Any) -> ScoringModel:
    """Changes any of SETTINGS. Raises InvalidInput that names each field."""
    with transaction.atomic():
        model = locked(model)
        before = {name: getattr(model, name) for name in SETTINGS}
        for name, value in fields.items():
            if name not in SETTINGS:
                raise InvalidInput(f"{name} is no setting of a model.", field=name)
            setattr(model, name, value)
        _validate(model)
        changed = [name for name in SETTINGS if getattr(model, name) != before[name]]
        if changed:
            model.save(update_fields=changed)
            details = {
                "from": {name: before[name] for name in changed},
                "to": {name: getattr(model, name) for name in changed},
            }
            record_event(model, Kind.SETTINGS, by=by, details=details)
    return model


def _validate(model: ScoringModel) -> None:
    try:
        model.full_clean()
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise InvalidInput("Some fields are not valid.", fields=fields) from error


# Versions come and go -------------------------------------------------------------------------------------------------


def register_folder(model: ScoringModel, staged: Path, *, by: Who, notes: str = "", check: bool = True) -> Version:
    """Makes a staged folder, as artifacts.unpack leaves it, the model's next version, and starts its check.

    Raises InvalidInput when its manifest does not fit the model; the folder then stays where it is.
    """
    fields = _manifest_for(model, staged)
    numbers = [int(name) for name in model.versions.values_list("name", flat=True) if name.isdecimal()]
    manifest = store.place(model.name, staged, fields, after=max(numbers, default=0))
    return _register(model, manifest, by=by, notes=notes, check=check)


def register_stored(model: ScoringModel, version_name: str, *, by: Who, notes: str = "", check: bool = True) -> Version:
    """Takes up a version that lies in the store, and starts its check. Raises StoreError where there is none."""
    if model.versions.filter(name=version_name).exists():
        raise Conflict(f"Version {version_name} of {model} is registered already.")
    return _register(model, store.read_manifest(model.name, version_name), by=by, notes=notes, check=check)


def _manifest_for(model: ScoringModel, staged: Path) -> dict[str, Any]:
    try:
        fields = store.manifest_in(staged)
    except store.StoreUnavailable:
        raise
    except StoreError as error:
        raise InvalidInput(error.detail, field="artifact") from error
    for name, own in (("kind", model.kind), ("pool", model.pool)):
        if fields[name] != own:
            raise InvalidInput(
                f"manifest.json says {name} “{fields[name]}”, but {model} has {name} “{own}”.", field="artifact"
            )
    return {name: value for name, value in fields.items() if name not in {"model", "version", "files"}}


def _register(model: ScoringModel, manifest: Mapping[str, Any], *, by: Who, notes: str, check: bool) -> Version:
    with transaction.atomic():
        model = locked(model)
        # `watch` may have come upon the folder a moment before us: then it is ours all the same.
        version, new = take_in(model, manifest)
        version.notes, version.registered_by_id = notes.strip(), by.pk if by else None
        version.save(update_fields=["notes", "registered_by"])
        record_event(model, Kind.REGISTERED, by=by, version=version, to_state=version.state, reason=notes.strip())
        if check and new:
            start_check(version, by=by)
    return version


def take_in(model: ScoringModel, manifest: Mapping[str, Any]) -> tuple[Version, bool]:
    """The row of a version that lies in the store, and whether it is new. Called with the model's row locked."""
    return Version.objects.get_or_create(
        model=model,
        name=manifest["version"],
        defaults=_facts(manifest),
    )


def take_as_champion(version: Version) -> None:
    """Records that a version serves which pods were told of before the registry was. With the model's row locked."""
    model, before = version.model, version.state
    now = timezone.now()
    version.checks.filter(state=Check.State.RUNNING).update(state=Check.State.CANCELLED, finished_at=now)
    _put(version, state=State.READY, role=Role.NONE, reason="", ready_at=version.ready_at or now)
    _put(version, state=State.SERVING, role=Role.CHAMPION)
    record_event(model, Kind.ADOPTED, by=None, version=version, from_state=before, to_state=version.state)
    publish_on_commit(model)


def replace_lost_champion(champion: Version, version: Version, manifest: Mapping[str, Any]) -> None:
    """Lets the version serve that pods were told of when the champion's files had gone. With the model's row locked."""
    before = champion.state
    reason = "Its files are gone from the model store."
    _put(champion, state=State.FAILED, role=Role.NONE, reason=reason)
    _put(version, **_facts(manifest), artifact_deleted_at=None)
    take_as_champion(version)
    record_event(
        champion.model,
        Kind.REPLACED,
        by=None,
        version=champion,
        from_state=before,
        to_state=champion.state,
        reason=reason,
    )


def take_other_files(version: Version, manifest: Mapping[str, Any]) -> None:
    """Notes that the store holds other files under a version's number than before. With the model's row locked."""
    _put(version, **_facts(manifest))
    reason = "The model store holds other files under this number than before."
    record_event(
        version.model,
        Kind.ADOPTED,
        by=None,
        version=version,
        from_state=version.state,
        to_state=version.state,
        reason=reason,
    )


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "manifest": dict(manifest),
        "size": sum(file["size"] for file in manifest.get("files", {}).values()),
    }


def start_check(version: Version, *, by: Who) -> Check:
    """Sends the version through the gate (gate.py), beside the champion of now."""
    with transaction.atomic():
        model = locked(version.model)
        version = model.versions.get(pk=version.pk)
        _refuse(hindrances.checking(version))
        before = version.state
        _put(version, state=State.CHECKING, reason="")
        check = Check.objects.create(
            version=version, champion=queries.champion_of(model), started_by=_address(by), started_at=timezone.now()
        )
        record_event(
            model, Kind.CHECK_STARTED, by=by, version=version, from_state=before, to_state=version.state, metrics={}
        )
        publish_on_commit(model)
        _send_on_commit("registry.check", check.pk, str(check.token))
    return check


def retire(version: Version, *, by: Who, reason: str = "", delete_artifact: bool = False) -> None:
    """Takes a version out of use, and its artifact out of the store, too, if so wished."""
    with transaction.atomic():
        model = locked(version.model)
        version = model.versions.get(pk=version.pk)
        _refuse(hindrances.retiring(version))
        _retire(model, version, by=by, reason=reason.strip())
        if delete_artifact:
            _delete_artifact(model, version, by=by, reason=reason.strip())


def delete_artifact(version: Version, *, by: Who, reason: str = "") -> None:
    """Takes the artifact of a retired version out of the store."""
    with transaction.atomic():
        model = locked(version.model)
        version = model.versions.get(pk=version.pk)
        _refuse(hindrances.deleting_files(version))
        _delete_artifact(model, version, by=by, reason=reason.strip())


def _retire(model: ScoringModel, version: Version, *, by: Who, reason: str) -> None:
    before, role, trial = version.state, version.role, _on_trial(version)
    _put(version, state=State.RETIRED, role=Role.NONE)
    record_event(
        model,
        Kind.RETIRED,
        by=by,
        version=version,
        from_state=before,
        to_state=version.state,
        reason=reason,
        details={"role": role} if role else {},
    )
    if role == Role.SHADOW:
        record_event(model, Kind.SHADOW_ENDED, by=by, version=version, details=trial)
    publish_on_commit(model)


def _delete_artifact(model: ScoringModel, version: Version, *, by: Who, reason: str) -> None:
    """The files go when the transaction has ended; where the store refuses, `watch` tries again."""
    _put(version, artifact_deleted_at=timezone.now())
    record_event(model, Kind.ARTIFACT_DELETED, by=by, version=version, reason=reason)
    transaction.on_commit(lambda: discard_artifact(version))


def discard_artifact(version: Version) -> None:
    """Deletes the files of a version whose row says that they are deleted. A store that refuses is logged."""
    try:
        store.delete_artifact(version.model.name, version.name)
        log.info("artifact_deleted", model=version.model.name, version=version.name)
    except StoreError as error:
        log.warning("artifact_not_deleted", model=version.model.name, version=version.name, error=error.detail)


# Promotion and back ---------------------------------------------------------------------------------------------------


def promote(version: Version, *, by: Who, reason: str = "") -> Rollout:
    """Starts the version's way into service; rollouts.py drives it. The champion serves until all pods have loaded it.

    Raises InvalidInput on `reason` when it is empty and the version's figures, or their absence, ask for one.
    """
    reason = reason.strip()
    with transaction.atomic():
        model = locked(version.model)
        version = model.versions.get(pk=version.pk)
        _refuse(hindrances.promoting(version))
        if not reason and (why := queries.reason_needed(version)):
            raise InvalidInput(f"{why} Say why it shall serve all the same.", field="reason")
        _supersede(model, by=by, because=f"Version {version.name} is being promoted.")
        rollout = Rollout.objects.create(
            model=model,
            version=version,
            replaces=queries.champion_of(model),
            kind=Rollout.Kind.PROMOTION,
            state=Rollout.State.LOADING,
            reason=reason,
            **_starter(by),
        )
        record_event(model, Kind.PROMOTION_STARTED, by=by, version=version, reason=reason, details=_way(rollout))
        publish_on_commit(model)
        _send_on_commit("registry.drive", rollout.pk)
    return rollout


def cancel_rollout(rollout: Rollout, *, by: Who) -> None:
    """Ends a promotion before it has switched anything."""
    with transaction.atomic():
        model = locked(rollout.model)
        rollout = model.rollouts.select_related("version", "replaces").get(pk=rollout.pk)
        if rollout.state == Rollout.State.SWITCHING:
            raise Conflict(f"Version {rollout.version.name} serves already. Roll back instead.")
        if rollout.state != Rollout.State.LOADING:
            raise Conflict(f"This promotion is over already: {rollout.get_state_display().lower()}.")
        _cancel(model, rollout, by=by, because="")
        publish_on_commit(model)


def roll_back(model: ScoringModel, *, by: Who, reason: str = "", expected: str = "") -> Rollout:
    """Lets the champion before serve again, at once: pods have it loaded. A canary and a shadow end.

    expected: the name of the version that whoever asks believes to be it; empty: whichever it is.
    """
    figures = trials.canary_figures(model)  # may be many rows, for which no lock is held
    with transaction.atomic():
        model = locked(model)
        standby, champion = queries.standby_of(model), queries.champion_of(model)
        if standby is None:
            raise Conflict(hindrances.rolling_back(model))
        if expected and standby.name != expected:
            raise Conflict(f"Version {standby.name} is the one before by now, not {expected}. Decide again.")
        _supersede(model, by=by, because=f"Rolled back to version {standby.name}.")
        now = timezone.now()
        rollout = Rollout.objects.create(
            model=model,
            version=standby,
            replaces=champion,
            kind=Rollout.Kind.ROLLBACK,
            state=Rollout.State.SWITCHING,
            reason=reason.strip(),
            started_at=now,
            switched_at=now,
            **_starter(by),
        )
        install(rollout, by=by, figures=figures)
        publish_on_commit(model)
        _send_on_commit("registry.drive", rollout.pk)
    return rollout


def install(rollout: Rollout, *, by: Who, figures: Mapping[str, Any]) -> None:
    """Makes the rollout's version champion. Called with the model's row locked.

    The champion before becomes the standby of a promotion; after a rollback it has no role. Canary and shadow end.
    figures: of the canary, as trials.canary_figures had them a moment ago.
    """
    model = rollout.model
    in_role = queries.by_role(model)
    before = model.versions.get(pk=rollout.version_id).state
    told = []
    promoted = rollout.kind == Rollout.Kind.PROMOTION
    if champion := in_role.get(Role.CHAMPION):
        told.append(_Told(Kind.REPLACED, champion, champion.state, {"role": Role.STANDBY.value if promoted else ""}))
    for role, kind in ((Role.CANARY, Kind.CANARY_ENDED), (Role.SHADOW, Kind.SHADOW_ENDED)):
        if trial := in_role.get(role):
            told.append(_Told(kind, trial, trial.state, {**_on_trial(trial), **_about(trial, figures)}))
            _put(trial, state=State.READY, role=Role.NONE)
    if standby := in_role.get(Role.STANDBY):
        _put(standby, role=Role.NONE)
    if champion:
        _put(champion, state=State.READY, role=Role.STANDBY if promoted else Role.NONE)
    version = model.versions.get(pk=rollout.version_id)
    _put(version, state=State.SERVING, role=Role.CHAMPION)
    record_event(
        model,
        Kind.PROMOTED if promoted else Kind.ROLLED_BACK,
        by=by,
        version=version,
        from_state=before,
        to_state=version.state,
        reason=rollout.reason,
        details=_way(rollout),
    )
    for each in told:
        record_event(
            model,
            each.kind,
            by=by,
            version=each.version,
            from_state=each.from_state,
            to_state=version.state if each.version.pk == version.pk else each.version.state,  # tried, and serving now
            reason=f"Version {version.name} serves now.",
            details=each.details,
        )


def fail_promotion(rollout: Rollout, reason: str, *, at_fault: bool) -> None:
    """Records that a version did not get into service. Called with the model's row locked.

    at_fault: a pod could not load it, so that it loses any role it has.
    """
    model, version = rollout.model, rollout.version
    before, role, trial = version.state, version.role, _on_trial(version)
    if at_fault:
        _put(version, state=State.FAILED, role=Role.NONE, reason=reason)
    record_event(
        model,
        Kind.PROMOTION_FAILED,
        by=None,
        version=version,
        from_state=before,
        to_state=version.state,
        reason=reason,
        details=_way(rollout),
    )
    ended = {Role.CANARY: Kind.CANARY_ENDED, Role.SHADOW: Kind.SHADOW_ENDED}.get(Role(role))
    if at_fault and ended:
        record_event(model, ended, by=None, version=version, reason=reason, details=trial)


def _on_trial(version: Version) -> dict[str, Any]:
    """What an event keeps of a trial that ends: its share, and of a shadow how it compared."""
    compared = {"shadow": shadow.figures_of(version)} if version.role == Role.SHADOW else {}
    return {"percent": version.percent, **compared}


def _about(trial: Version, figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those figures of a canary, if they are the version's: another one may be on trial by now."""
    return figures if figures.get("canary", {}).get("version") == trial.name else {}


@dataclass(frozen=True)
class _Told:
    """What an event says that can be recorded only when all rows are as they shall be."""

    kind: Event.Kind
    version: Version
    from_state: str
    details: dict[str, Any]


def _supersede(model: ScoringModel, *, by: Who, because: str) -> None:
    """Ends the rollout that is under way, if any."""
    if rollout := queries.running_rollout(model):
        _cancel(model, rollout, by=by, because=because)


def _cancel(model: ScoringModel, rollout: Rollout, *, by: Who, because: str) -> None:
    was_loading = rollout.state == Rollout.State.LOADING
    rollout.state, rollout.problem, rollout.finished_at = Rollout.State.CANCELLED, because, timezone.now()
    rollout.save(update_fields=["state", "problem", "finished_at"])
    if was_loading:  # a version that serves already has its PROMOTED event
        record_event(
            model, Kind.PROMOTION_CANCELLED, by=by, version=rollout.version, reason=because, details=_way(rollout)
        )


# Trials ---------------------------------------------------------------------------------------------------------------


def start_canary(version: Version, percent: int, *, by: Who, reason: str = "") -> None:
    """Lets the version answer 1 to 50 percent of the requests that name none; of the canary, changes the share."""
    _start_trial(version, percent, CANARY, by=by, reason=reason.strip())


def end_canary(
    model: ScoringModel,
    *,
    by: Who,
    reason: str = "",
    aborted: bool = False,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Gives the canary's share back to the champion. aborted: by itself (aborts.py).

    figures: how it did, for the history; by default as they are now.
    """
    found = trials.canary_figures(model) if figures is None else figures
    _end_trial(model, CANARY, Kind.CANARY_ABORTED if aborted else None, by=by, reason=reason.strip(), figures=found)


def start_shadow(version: Version, percent: int, *, by: Who, reason: str = "") -> None:
    """Lets the version score 1 to 100 percent of the requests again, unseen; of the shadow, changes the share."""
    _start_trial(version, percent, SHADOW, by=by, reason=reason.strip())


def end_shadow(model: ScoringModel, *, by: Who, reason: str = "") -> None:
    """Ends the second scoring."""
    _end_trial(model, SHADOW, None, by=by, reason=reason.strip(), figures={})


@dataclass(frozen=True)
class _Trial:
    """One of the two ways to try a version on real requests."""

    role: Version.Role
    state: Version.State  # of a version in that role
    most: int  # percent
    started: Event.Kind
    changed: Event.Kind
    ended: Event.Kind


CANARY = _Trial(Role.CANARY, State.SERVING, MOST_CANARY, Kind.CANARY_STARTED, Kind.CANARY_CHANGED, Kind.CANARY_ENDED)
SHADOW = _Trial(Role.SHADOW, State.READY, 100, Kind.SHADOW_STARTED, Kind.SHADOW_CHANGED, Kind.SHADOW_ENDED)


def _start_trial(version: Version, percent: int, trial: _Trial, *, by: Who, reason: str) -> None:
    if not 1 <= percent <= trial.most:
        raise InvalidInput(f"The share must be from 1 to {trial.most} percent.", field="percent")
    with transaction.atomic():
        model = locked(version.model)
        version = model.versions.get(pk=version.pk)
        _refuse(hindrances.trying(version, trial.role))
        before, role, share, ending = version.state, version.role, version.percent, _on_trial(version)
        if role == trial.role and share == percent:
            raise Conflict(f"Version {version.name} is the {trial.role.label.lower()} with {percent} % already.")
        _put(version, state=trial.state, role=trial.role, percent=percent)
        record_event(
            model,
            trial.changed if role == trial.role else trial.started,
            by=by,
            version=version,
            from_state=before,
            to_state=version.state,
            reason=reason,
            details={"percent": percent, **({"from_percent": share} if role == trial.role else {})},
        )
        if role == Role.SHADOW and trial is CANARY:
            record_event(model, Kind.SHADOW_ENDED, by=by, version=version, details=ending)
        publish_on_commit(model)


def _end_trial(
    model: ScoringModel,
    trial: _Trial,
    kind: Event.Kind | None,
    *,
    by: Who,
    reason: str,
    figures: Mapping[str, Any],
) -> None:
    with transaction.atomic():
        model = locked(model)
        version = queries.by_role(model).get(trial.role)
        if version is None:
            raise Conflict(hindrances.ending(model, trial.role))
        before, ending = version.state, _on_trial(version)
        _put(version, state=State.READY, role=Role.NONE)
        record_event(
            model,
            kind or trial.ended,
            by=by,
            version=version,
            from_state=before,
            to_state=version.state,
            reason=reason,
            details={**ending, **_about(version, figures)},
        )
        publish_on_commit(model)


# Below ----------------------------------------------------------------------------------------------------------------


def record_event(
    model: ScoringModel,
    kind: Event.Kind,
    *,
    by: Who,
    version: Version | None = None,
    from_state: str = "",
    to_state: str = "",
    reason: str = "",
    metrics: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Event:
    """Appends to the model's history, with what serves from now on as the rows say it.

    Called in the transaction of the change, after it, with the model's row locked. metrics: by default those of the
    version's last check.
    """
    latest = model.events.aggregate(at=Max("at"))["at"]
    event = Event.objects.create(
        model=model,
        version=version,
        kind=kind,
        # A clock that was set back must not shuffle the history.
        at=max(filter(None, (timezone.now(), latest))),
        from_state=from_state,
        to_state=to_state,
        reason=reason,
        metrics=dict((version.metrics if version else {}) if metrics is None else metrics),
        details=dict(details or {}),
        serving=queries.serving_now(model),
        actor=_address(by),
        actor_id=by.pk if by else None,
    )
    if kind in AUDITED:
        about = f"{model.name} {version.name if version else ''}".strip()
        recording.record(recording.Kind.MODEL_CHANGED, by=by, about=about, what=kind.value, history_event=event.pk)
    log.info("model_event", model=model.name, version=version.name if version else "", kind=kind.value, by=event.actor)
    return event


def _put(version: Version, **changes: Any) -> None:
    """Saves the changes. A role begins now; without a share it has none."""
    if "role" in changes:
        changes.setdefault("percent", 0)
        if changes["role"] != version.role:
            changes["role_since"] = timezone.now() if changes["role"] else None
    for name, value in changes.items():
        setattr(version, name, value)
    version.save(update_fields=list(changes))


def _refuse(hindrance: str) -> None:
    if hindrance:
        raise Conflict(hindrance)


def _way(rollout: Rollout) -> dict[str, Any]:
    """What the history keeps of a rollout."""
    return {"rollout": rollout.pk, "replaces": rollout.replaces.name if rollout.replaces else None}


def _starter(by: Who) -> dict[str, Any]:
    return {"started_by": _address(by), "actor_id": by.pk if by else None}


def _address(by: Who) -> str:
    return by.email if by else ""


def _send_on_commit(task: str, *arguments: Any) -> None:
    transaction.on_commit(lambda: queues.send(task, *arguments))

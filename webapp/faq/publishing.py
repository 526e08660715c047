"""Publishing: the entries of a collection as the next version of its model, in service when it is not worse.

snapshot and training (a process of its own, in the trainer) → the registry's check (gate.py), beside what serves →
promotion (rollouts.py), or a question to the editor. Nothing a visitor sees changes before the promotion, and a
publication that fails or is dropped leaves what serves as it was.

The rows say how far it is. `follow_all` moves it on as the registry gets ahead, and may be run at any time and twice.
"""

import uuid
from datetime import timedelta

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from webapp import queues
from webapp.accounts.models import User
from webapp.errors import AppError, Conflict, InvalidInput
from webapp.faq import changes
from webapp.faq.comparison import verdict_on
from webapp.faq.models import Collection, Entry, Publication
from webapp.faq.services import register_model
from webapp.registry import queries as registry_queries
from webapp.registry import services as registry
from webapp.registry.models import Check, Rollout, Version
from webapp.registry.services import Actor

log = structlog.get_logger(__name__)

State = Publication.State
SILENT_AFTER = 60.0  # seconds without a word of the trainer, after which another one begins anew
MOST_ATTEMPTS = 3
KEPT_VERSIONS = 5  # of those published from here; older ones that serve nothing are deleted


def current(collection: Collection) -> Publication | None:
    """The publication on its way, or the last one."""
    return collection.publications.select_related("version__model", "rollout").first()


def start(collection: Collection, *, by: User) -> Publication:
    """Begins to publish. Raises Conflict where it is being published already, or has no live entry."""
    live = Entry.objects.filter(collection=collection, state=Entry.State.LIVE)
    if not live.exists():
        raise Conflict("There is no live entry to publish. Write one, or make a draft live.")
    register_model(collection, by=by)
    found = changes.changes_of(collection).counts()
    try:
        with transaction.atomic():
            made = Publication.objects.create(
                collection=collection,
                started_by=by.email,
                actor_id=by.pk,
                changes=found,
                entries=live.count(),
                detail="Waits for a trainer.",
            )
    except IntegrityError as error:
        raise Conflict("This collection is being published already.") from error
    transaction.on_commit(lambda: queues.send("faq.train", made.pk, str(made.token), queue="training"))
    log.info("publication_started", collection=collection.slug, by=by.email)
    return made


def promote_anyway(publication: Publication, *, by: User, reason: str) -> None:
    """Puts a version into service that is worse, because the editor says so. Raises InvalidInput without a reason."""
    reason = reason.strip()
    if not reason:
        raise InvalidInput("Say in a few words why it shall serve all the same.", field="reason")
    with transaction.atomic():
        version = _asked_about(publication)
        rollout = registry.promote(version, by=by, reason=reason)
        _require(_become(publication, State.PROMOTING, rollout=rollout, problem="", detail="Pods load it."))


def drop(publication: Publication, *, by: User) -> None:
    """Ends a publication before it has changed what serves. Raises Conflict when it is over, or goes into service."""
    with transaction.atomic():
        ours = Publication.objects.filter(
            pk=publication.pk, state__in=[State.WAITING, State.TRAINING, State.CHECKING, State.ASKING]
        )
        if not ours.update(
            state=State.DROPPED, finished_at=timezone.now(), detail=f"Dropped by {by.email}.", token=uuid.uuid4()
        ):
            raise Conflict("It cannot be stopped any more: it is over, or on its way into service.")
        publication.refresh_from_db()
        version = publication.version
        if version and version.state in {Version.State.READY, Version.State.FAILED} and not version.role:
            registry.retire(version, by=by, reason="Its editors decided not to publish it.", delete_artifact=True)


def _asked_about(publication: Publication) -> Version:
    publication.refresh_from_db()
    if publication.state != State.ASKING or publication.version is None:
        raise Conflict("Nobody waits for this decision any more. Look at the page again.")
    return publication.version


# Moving on ------------------------------------------------------------------------------------------------------------


def follow_all() -> None:
    """Moves each publication on as far as the registry has got with it; finds a trainer for those that have none."""
    for publication in Publication.objects.filter(state__in=Publication.RUNNING).select_related(
        "collection", "version__model", "rollout"
    ):
        try:
            follow(publication)
        except AppError as error:  # such as another promotion under way: the next look comes soon
            log.warning("publication_waits", publication=publication.pk, reason=error.detail)


def follow(publication: Publication) -> None:
    match publication.state:
        case State.WAITING | State.TRAINING:
            _resume_if_silent(publication)
        case State.CHECKING:
            _follow_check(publication)
        case State.PROMOTING:
            _follow_rollout(publication)


def _resume_if_silent(publication: Publication) -> None:
    if publication.heartbeat_at > timezone.now() - timedelta(seconds=SILENT_AFTER):
        return
    if publication.attempts >= MOST_ATTEMPTS:
        fail(publication, f"The trainer ended {publication.attempts} times before it was done. It may lack memory.")
        return
    token = uuid.uuid4()
    ours = Publication.objects.filter(pk=publication.pk, token=publication.token, state=publication.state)
    if ours.update(token=token, heartbeat_at=timezone.now()):
        queues.send("faq.train", publication.pk, str(token), queue="training", expires=SILENT_AFTER)


def send_never_begun() -> None:
    """Has the trainings begun that a busy trainer left alone."""
    waiting = Publication.objects.filter(state=State.WAITING, attempts=0).order_by("started_at", "pk")
    for pk, token in waiting.values_list("pk", "token")[:4]:
        queues.send("faq.train", pk, str(token), queue="training", expires=SILENT_AFTER)


def _follow_check(publication: Publication) -> None:
    version = publication.version
    if version is None:
        fail(publication, "Its version is gone from the registry.")
        return
    check = version.checks.first()
    if version.role == Version.Role.CHAMPION:
        _finish(publication)
    elif check is None or check.state == Check.State.CANCELLED:
        fail(publication, "Its check was cancelled.")
    elif check.state == Check.State.FAILED:
        fail(publication, version.reason or str(check.report.get("reason", "")))
    elif check.state == Check.State.PASSED:
        _weigh(publication, version, check)


def _weigh(publication: Publication, version: Version, check: Check) -> None:
    """Promotes what is not worse than what serves; else asks."""
    champion = registry_queries.champion_of(version.model)
    actor = actor_of(publication)
    if champion and check.champion_id not in {None, champion.pk} and check.report.get("measured"):
        registry.start_check(version, by=actor)  # another one serves since: it is compared with that
        return
    verdict = verdict_on(version, champion, check)
    if verdict.worse:
        _become(publication, State.ASKING, problem="\n".join(verdict.worse))
        return
    with transaction.atomic():
        rollout = registry.promote(version, by=actor, reason=verdict.passed_over)
        _require(_become(publication, State.PROMOTING, rollout=rollout, detail="Pods load it."))


def _follow_rollout(publication: Publication) -> None:
    rollout = publication.rollout
    if rollout is None:
        fail(publication, "Its promotion is gone from the registry.")
    elif rollout.state == Rollout.State.DONE:
        _finish(publication)
    elif rollout.state == Rollout.State.CANCELLED and rollout.switched_at:
        _finish(publication)  # it did serve; what came after is another story
    elif rollout.state in {Rollout.State.FAILED, Rollout.State.CANCELLED}:
        fail(publication, rollout.problem or "Its promotion was cancelled in the admin.")
    else:
        detail = rollout.problem or (
            "Pods load it." if rollout.state == Rollout.State.LOADING else "Pods switch to it."
        )
        if detail != publication.detail:
            Publication.objects.filter(pk=publication.pk, state=State.PROMOTING).update(detail=detail[:300])


def _become(publication: Publication, state: Publication.State, **fields: object) -> bool:
    """Whether it was still as it was read; somebody else may have moved it on."""
    found = Publication.objects.filter(pk=publication.pk, state=publication.state)
    if not found.update(state=state, **fields):
        return False
    publication.refresh_from_db()
    return True


def _require(ours: bool) -> None:
    """Raises Conflict, which undoes a promotion in the same transaction."""
    if not ours:
        raise Conflict("Somebody else has decided meanwhile. Look at the page again.")


def fail(publication: Publication, problem: str) -> None:
    if _become(publication, State.FAILED, problem=problem, finished_at=timezone.now(), detail=""):
        log.warning("publication_failed", collection=publication.collection.slug, reason=problem)


def _finish(publication: Publication) -> None:
    if _become(publication, State.DONE, finished_at=timezone.now(), detail="", progress=1.0):
        log.info("publication_done", collection=publication.collection.slug)
        _tidy(publication)


def _tidy(publication: Publication) -> None:
    """Retires and deletes versions that were published long ago. What serves or stands by stays in any case."""
    done = publication.collection.publications.exclude(version=None).select_related("version__model")
    for old in done[KEPT_VERSIONS:]:
        version = old.version
        if version and not version.role and version.state in {Version.State.READY, Version.State.FAILED}:
            try:
                registry.retire(version, by=None, reason="Newer ones were published.", delete_artifact=True)
            except AppError as error:
                log.warning("version_not_retired", version=version.name, reason=error.detail)


def actor_of(publication: Publication) -> Actor:
    return Actor(publication.started_by, publication.actor_id)

"""Telling the pods: each model's routing file, written from the rows.

The rows are read while the file is locked, so whoever writes last writes the newest, in whichever order transactions
end. A store that is away for a while loses nothing: `registry.watch` writes again what differs.
"""

from dataclasses import replace

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from webapp.errors import StoreError
from webapp.registry.models import Rollout, ScoringModel, Version
from webapp.scoring import store
from webapp.scoring.store import Challenger, Routing

log = structlog.get_logger(__name__)

# A version in one of these states may serve already, as far as the routing file says: adoption.py takes it over.
ADOPTABLE = (Version.State.REGISTERED, Version.State.CHECKING, Version.State.READY)


def routing_of(model: ScoringModel) -> Routing:
    """Which versions pods shall load, by the rows as they are now."""
    # One statement, so that it sees all rows at one moment.
    loading = Rollout.objects.filter(version=OuterRef("pk"), state=Rollout.State.LOADING)
    named = Version.objects.filter(
        Q(Exists(loading)) | ~Q(role=Version.Role.NONE) | Q(state=Version.State.CHECKING), model=model
    )
    roles: dict[str, Version] = {}
    warm = []
    for version in named.order_by("pk"):
        if version.role in {Version.Role.NONE, Version.Role.SHADOW}:
            warm.append(version.name)
        else:
            roles[version.role] = version
    champion, canary, standby = map(roles.get, (Version.Role.CHAMPION, Version.Role.CANARY, Version.Role.STANDBY))
    return Routing(
        champion=champion.name if champion else "",
        challenger=Challenger(canary.name, canary.percent) if canary else None,
        standby=standby.name if standby else "",
        warm=tuple(warm),
    )


def publish(model: ScoringModel) -> bool:
    """Writes the model's routing file where it is not what the rows say; whether it did. Raises StoreError."""
    if not _differs(model):
        return False
    with store.locked(model.name):
        wanted = _differs(model)
        if wanted:
            store.write_routing(model.name, wanted)
    if wanted:
        log.info("routing_published", model=model.name, routing=repr(wanted))
    return wanted is not None


def publish_on_commit(model: ScoringModel) -> None:
    """Publishes when the transaction has ended well. What has been decided stays, also while the store is away."""

    def now() -> None:
        try:
            publish(model)
        except StoreError as error:
            log.warning("routing_not_published", model=model.name, error=error.detail)

    transaction.on_commit(now)


def _differs(model: ScoringModel) -> Routing | None:
    """What the routing file should say, where it says something else."""
    try:
        current = store.read_routing(model.name) or Routing()
    except store.StoreUnavailable:
        raise
    except StoreError as error:
        log.warning("routing_damaged", model=model.name, error=error.detail)
        return routing_of(model)
    wanted = routing_of(model)
    if not wanted.champion and current.champion and _may_be_adopted(model, current.champion):
        wanted = replace(wanted, champion=current.champion)
    return wanted if wanted != current else None


def _may_be_adopted(model: ScoringModel, name: str) -> bool:
    """Whether a version that no row calls champion may answer all the same, until adoption.py makes it so."""
    state = Version.objects.filter(model=model, name=name).values_list("state", flat=True).first()
    return state is None or state in ADOPTABLE

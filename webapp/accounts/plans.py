"""What each person may use: the values of their plan, and of the settings where it has none."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from webapp.accounts.models import Plan, User

KEPT_FOR = 5.0  # seconds that a process goes by what it has read; a change takes that long to reach all of them


@dataclass(frozen=True)
class Limits:
    """What one person may use. plan: its name, "" without one.

    per_key, per_user: a minute, all "requests", rows in the buckets "faq" and "images", requests in "other".
    month_per_key, month_per_user: "requests" and "rows" a calendar month, None for no quota. The last three are of
    batch jobs: open at the same time, rows in one, bytes stored in all.
    """

    plan: str
    per_key: Mapping[str, int]
    per_user: Mapping[str, int]
    month_per_key: Mapping[str, int | None]
    month_per_user: Mapping[str, int | None]
    open_jobs: int
    rows_a_job: int
    stored_bytes: int


def limits_of(user: User) -> Limits:
    """What the person may use. Asks the database at most once in some seconds, whoever is meant."""
    return _limits(_plan(user.plan_id) if user.plan_id else None)


def _limits(plan: Plan | None) -> Limits:
    minute = {
        who: {
            bucket: _first(plan, f"{bucket}_per_{who}", quota)
            for bucket, quota in getattr(settings, f"RATE_LIMITS_PER_{who.upper()}").items()
        }
        for who in ("key", "user")
    }
    month = {
        who: {
            what: getattr(plan, f"month_{what}_per_{who}") if plan else quota or None
            for what, quota in getattr(settings, f"MONTH_QUOTAS_PER_{who.upper()}").items()
        }
        for who in ("key", "user")
    }
    return Limits(
        plan=plan.name if plan else "",
        per_key=minute["key"],
        per_user=minute["user"],
        month_per_key=month["key"],
        month_per_user=month["user"],
        open_jobs=_first(plan, "batch_open_jobs", settings.BATCH_OPEN_JOBS),
        rows_a_job=_first(plan, "batch_rows", settings.BATCH_ROWS),
        stored_bytes=_first(plan, "batch_bytes", settings.BATCH_BYTES),
    )


def _first(plan: Plan | None, field: str, default: int) -> int:
    """What the plan has in the field, or else the default."""
    found: int | None = getattr(plan, field, None)
    return default if found is None else found


# Plans, read seldom ---------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_known: dict[int, Plan] = {}
_known_until = 0.0  # on the monotonic clock


def _plan(plan_id: int) -> Plan | None:
    """None for one that was deleted a moment ago."""
    global _known, _known_until  # noqa: PLW0603  # what this process knows
    with _lock:
        if time.monotonic() >= _known_until or plan_id not in _known:
            _known = {plan.pk: plan for plan in Plan.objects.all()}
            _known_until = time.monotonic() + KEPT_FOR
        return _known.get(plan_id)


@receiver([post_save, post_delete], sender=Plan)
def forget(**_signal: object) -> None:
    """Has the next one who asks read the plans anew."""
    global _known_until  # noqa: PLW0603  # guarded by the lock
    with _lock:
        _known_until = 0.0

"""Keeps what was scored, and counts it. Nothing here may cost a client the answer that is already there."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from django.db import Error as AnyDatabaseError
from django.db import connection, transaction
from django.db.models import Q
from django.dispatch import Signal
from django.utils import timezone

from webapp import problems
from webapp.accounts.models import User
from webapp.errors import AppError, ScoringError
from webapp.keys.principal import Principal, Visitor
from webapp.request_ids import current_request_id
from webapp.usage import ledger, traffic
from webapp.usage.models import ScoringRecord

log = structlog.get_logger(__name__)

LIVE_FOR = timedelta(seconds=30)  # a pause longer than this begins a new row of the history
SAME_FOR = timedelta(seconds=30)  # a question asked again within this is a page loaded again
# Sent with user and record, None for all: somebody has deleted it from the history.
forgotten = Signal()


@dataclass
class Attempt:
    """One input on its way through a model. Whoever scores it tells what the model said.

    answer: best first, each {"id", "question" or "label", "probability"}. version: "" until one has answered or failed.
    outcome: "ok", or the slug of the problem.
    """

    model: str
    version: str = ""
    answer: Sequence[Mapping[str, Any]] = ()
    outcome: str = problems.INTERNAL.slug
    confidence: float | None = None
    scored_ms: float | None = None
    further: bool = False  # another row of a request whose first is counted
    began: float = field(default_factory=time.monotonic)

    @property
    def duration_ms(self) -> float:
        """Milliseconds since the attempt began."""
        return round((time.monotonic() - self.began) * 1000, 3)

    def answered(self, version: str, probabilities: Sequence[float]) -> None:
        """The version has answered, just now. probabilities: best first."""
        self.version = version
        self.confidence = probabilities[0] if probabilities else None
        self.scored_ms = self.duration_ms


@contextmanager
def counted(
    attempt: Attempt, principal: Principal | Visitor, *, source: ScoringRecord.Source, pinned: bool = False
) -> Iterator[None]:
    """Adds what happens inside to the traffic of the version that answered or failed, and to the caller's use.

    Of visitors there is one use for all of them. pinned: the caller named the version.
    """
    try:
        yield
        attempt.outcome = ScoringRecord.OK
    except AppError as error:
        attempt.outcome = problems.kind_of(error).slug
        if isinstance(error, ScoringError):  # whose version only a pod can know
            attempt.version = attempt.version or error.model_version
        raise
    finally:
        traffic.note(
            model=attempt.model,
            version=attempt.version,
            ms=attempt.duration_ms if attempt.scored_ms is None else attempt.scored_ms,
            failed=attempt.outcome != ScoringRecord.OK and problems.BY_SLUG[attempt.outcome].status >= 500,
            confidence=attempt.confidence,
            pinned=pinned,
        )
        ledger.note(
            principal,
            source=str(source),
            model=attempt.model,
            version=attempt.version,
            requests=0 if attempt.further else 1,
            errors=int(attempt.outcome != ScoringRecord.OK),
            ms=attempt.duration_ms,
        )


@contextmanager
def recorded(
    principal: Principal | Visitor,
    *,
    kind: ScoringRecord.Kind,
    source: ScoringRecord.Source,
    subject: str,
    model: str,
    live: bool = False,
    restored: bool = False,
    pinned: bool = False,
) -> Iterator[Attempt]:
    """Puts what happens inside into the history, too, however it ends: answered, or with the problem it raised.

    A visitor has no history: nothing of what they ask is kept. restored: a page is shown once more, as by Back; what it
    asks is in the history since it was asked first.
    """
    attempt = Attempt(model)
    try:
        with counted(attempt, principal, source=source, pinned=pinned):
            yield attempt
    finally:
        if isinstance(principal, Principal) and not restored:
            record(
                principal,
                kind=kind,
                source=source,
                subject=subject,
                duration_ms=attempt.duration_ms,
                answer=attempt.answer,
                model=attempt.model,
                version=attempt.version,
                outcome=attempt.outcome,
                request_id=current_request_id(),
                live=live,
                pinned=pinned,
            )


def record(
    principal: Principal,
    *,
    kind: ScoringRecord.Kind,
    source: ScoringRecord.Source,
    subject: str,
    duration_ms: float,
    answer: Sequence[Mapping[str, Any]] = (),
    model: str = "",
    version: str = "",
    outcome: str = ScoringRecord.OK,
    request_id: str = "",
    live: bool = False,
    pinned: bool = False,
) -> None:
    """Puts one scored input into the history of its owner; a failed one too, with the slug of its problem as outcome.

    answer: best first, each {"id", "question" or "label", "probability"}. A question typed letter by letter (`live`)
    stays one row: what continues the latest live row replaces it, and what was sent on purpose closes it. A question
    that a page asks again within half a minute, with the same outcome, stays one row too.
    A row that cannot be kept is logged, never raised.
    """
    row = ScoringRecord(
        user=principal.user,
        key=principal.key,
        kind=kind,
        source=source,
        subject=subject,
        answer=list(answer),
        model=model,
        version=version,
        outcome=outcome,
        duration_ms=duration_ms,
        request_id=request_id,
        live=live,
        pinned=pinned,
        created_at=timezone.now() - timedelta(milliseconds=duration_ms),
    )
    try:
        with transaction.atomic():
            _let_commit_not_wait()
            _save(row)
    except (AnyDatabaseError, User.DoesNotExist) as error:  # the person may have deleted the account meanwhile
        # Without its text: PostgreSQL quotes the row that it refuses, and with it the question.
        log.error("scoring_not_recorded", kind=kind, outcome=outcome, error=type(error).__name__)


def _let_commit_not_wait() -> None:
    """Nobody's answer waits for the disk: of the history a crash of the database may cost the last half second.

    SQLite is set up like that as a whole (settings.py).
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit TO OFF")


def _save(row: ScoringRecord) -> None:
    recent = _recent_rows(row) if row.source == ScoringRecord.Source.PAGE else []
    before = next((each for each in recent if each.live), None)
    if before and continues(before.subject, row.subject):
        # Else the answer to an earlier key press came late: the row already holds a longer text.
        if before.created_at <= row.created_at:
            row.pk = before.pk
            row.save(force_update=True)
    elif not any(_is_the_same(each, row) for each in recent):
        row.save(force_insert=True)


def _recent_rows(row: ScoringRecord) -> list[ScoringRecord]:
    """The rows, newest first, that this one may continue or repeat."""
    # Two key presses answered at the same moment must not both find no row: the second waits for the first here.
    User.objects.select_for_update().values_list("pk").get(pk=row.user.pk)
    continued = Q(live=True, created_at__gte=row.created_at - LIVE_FOR)
    repeated = Q(subject=row.subject, source=row.source, created_at__gte=row.created_at - SAME_FOR)
    oldest = row.created_at - max(LIVE_FOR, SAME_FOR)  # bounds the index scan
    return list(
        ScoringRecord.objects.filter(continued | repeated, user=row.user, kind=row.kind, created_at__gte=oldest)
    )


def _is_the_same(before: ScoringRecord, row: ScoringRecord) -> bool:
    """Whether a page asked the same and got the same outcome. Of pictures only the names are kept: those never are."""
    return row.kind == ScoringRecord.Kind.FAQ and (before.subject, before.source, before.outcome) == (
        row.subject,
        row.source,
        row.outcome,
    )


def continues(before: str, after: str) -> bool:
    """Whether the second text comes from editing the first: what they share at both ends is half of the shorter."""
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next((i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head)
    return 2 * (head + tail) >= shorter


def delete(user: User, record_id: int) -> bool:
    """Deletes one record of the person; False when there is none, or it is somebody else's."""
    record = ScoringRecord.objects.filter(user=user, pk=record_id).first()
    if record is None:
        return False
    record.delete()
    forgotten.send(ScoringRecord, user=user, record=record)
    return True


def delete_all(user: User) -> int:
    """Deletes the whole history of the person; returns the number of records."""
    deleted, _ = ScoringRecord.objects.filter(user=user).delete()
    forgotten.send(ScoringRecord, user=user, record=None)
    return deleted

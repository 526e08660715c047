"""Reads of the history. Each starts from a person, so a stranger's record is simply not found."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Q

from webapp.accounts.models import User
from webapp.errors import InvalidInput
from webapp.usage.models import ScoringRecord

PAGE_SIZE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class HistoryPage:
    """Records, newest first; `next_cursor` leads to older ones, None at the end."""

    records: list[ScoringRecord]
    next_cursor: str | None


def history_of(user: User, kind: str | None = None, before: str | None = None, size: int = PAGE_SIZE) -> HistoryPage:
    """One page of what the person had scored. `before` is the `next_cursor` of the page above.

    Raises InvalidInput for a cursor that was not made here.
    """
    records = ScoringRecord.objects.filter(user=user).select_related("key")
    if kind:
        records = records.filter(kind=kind)
    if before:
        moment, pk = _read_cursor(before)
        # The first condition alone bounds the index scan; the second settles records of the same microsecond.
        records = records.filter(Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=pk), created_at__lte=moment)
    found = list(records.order_by("-created_at", "-pk")[: size + 1])
    page = found[:size]
    return HistoryPage(page, _cursor_after(page[-1]) if len(found) > size else None)


def _cursor_after(record: ScoringRecord) -> str:
    return f"{(record.created_at - _EPOCH) // timedelta(microseconds=1)}-{record.pk}"


def _read_cursor(cursor: str) -> tuple[datetime, int]:
    try:
        microseconds, pk = map(int, cursor.split("-"))
        if not 0 <= pk < 2**63:
            raise ValueError(pk)
        return _EPOCH + timedelta(microseconds=microseconds), pk
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "This page of the history does not exist. Start again from the newest.", field="before"
        ) from error

"""Reads of the history. Each starts from a person, so a stranger's record is simply not found."""

from webapp.accounts.models import User
from webapp.paging import Page, page_of
from webapp.usage.models import ScoringRecord

PAGE_SIZE = 50


def history_of(user: User, kind: str | None = None, cursor: str | None = None) -> Page[ScoringRecord]:
    """One page of what the person had scored, newest first. cursor: the `next_cursor` of the page before.

    Raises InvalidInput for a cursor that was not made here.
    """
    records = ScoringRecord.objects.filter(user=user).select_related("key")
    if kind:
        records = records.filter(kind=kind)
    return page_of(records, cursor=cursor, limit=PAGE_SIZE)

"""Lists a page at a time, newest first, by a cursor: what comes in meanwhile repeats no row and hides none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core.signing import BadSignature, Signer
from django.db.models import Model, Q, QuerySet

from webapp.errors import InvalidInput

M = TypeVar("M", bound=Model)
LIMIT, MOST = 20, 100  # rows on a page: by default, and at most


@dataclass(frozen=True)
class Page(Generic[M]):
    """Some rows of a list; `next_cursor` leads to those after them, None at the end."""

    items: list[M]
    next_cursor: str | None


def page_of(
    rows: QuerySet[M], *, cursor: str | None = None, limit: int = LIMIT, by: Sequence[str] = ("created_at", "pk")
) -> Page[M]:
    """The first `limit` rows after the cursor, the greatest first. cursor: the `next_cursor` of the page before.

    by: fields that together tell all rows apart, the last of them unique; an index on them bounds the work. Raises
    InvalidInput for a cursor that was not made here, for a list of such rows.
    """
    signer = Signer(salt=f"page of {rows.model._meta.label_lower} by {','.join(by)}")
    if cursor:
        rows = rows.filter(_after(by, _values(signer, cursor)))
    found = list(rows.order_by(*(f"-{name}" for name in by))[: limit + 1])
    items = found[:limit]
    if len(found) <= limit:
        return Page(items, None)
    return Page(items, signer.sign_object([_plain(getattr(items[-1], name)) for name in by]))


def _values(signer: Signer, cursor: str) -> list[Any]:
    try:
        values: list[Any] = signer.unsign_object(cursor)
    except (BadSignature, ValueError) as error:
        raise InvalidInput("There is no such page. Start again from the newest.", field="cursor") from error
    return values


def _after(by: Sequence[str], values: Sequence[Any]) -> Q:
    """What is less than the values. The first condition alone bounds the scan of an index; the rest settles ties."""
    (name, *names), (value, *others) = by, values
    if not names:
        return Q(**{f"{name}__lt": value})
    less = Q(**{f"{name}__lt": value}) | Q(**{name: value}) & _after(names, others)
    return Q(**{f"{name}__lte": value}) & less


def _plain(value: Any) -> Any:
    """As JSON can hold it, nothing lost; the field of the query reads it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value

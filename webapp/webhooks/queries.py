"""Reads of webhooks and their deliveries. Each starts from a person, so a stranger's is simply not found."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from webapp.accounts.models import User
from webapp.errors import InvalidInput, NotFound
from webapp.webhooks.models import Delivery, Endpoint

PAGE_SIZE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def endpoints_of(user: User) -> QuerySet[Endpoint]:
    """All of the person's, newest first."""
    return Endpoint.objects.filter(owner=user)


def endpoint_of(user: User, endpoint_id: UUID) -> Endpoint:
    """Raises NotFound also for somebody else's."""
    found = Endpoint.objects.filter(owner=user, pk=endpoint_id).first()
    if found is None:
        raise NotFound("There is no such webhook.")
    return found


def delivery_of(user: User, endpoint_id: UUID, delivery_id: UUID) -> Delivery:
    """One delivery with its endpoint. Raises NotFound also for somebody else's."""
    found = Delivery.objects.select_related("endpoint")
    delivery = found.filter(endpoint__owner=user, endpoint=endpoint_id, pk=delivery_id).first()
    if delivery is None:
        raise NotFound("There is no such delivery. They are kept for 30 days.")
    return delivery


@dataclass(frozen=True)
class DeliveryPage:
    """Deliveries, newest first; `next_cursor` leads to older ones, None at the end."""

    deliveries: list[Delivery]
    next_cursor: str | None


def deliveries_of(
    endpoint: Endpoint, *, state: str = "", before: str | None = None, size: int = PAGE_SIZE
) -> DeliveryPage:
    """One page of the endpoint's deliveries. before: the `next_cursor` of the page above. state: only those.

    Raises InvalidInput for a cursor that was not made here.
    """
    found = Delivery.objects.filter(endpoint=endpoint).defer("body")
    if state:
        found = found.filter(state=state)
    if before:
        moment, pk = _read_cursor(before)
        # The first condition alone bounds the index scan; the second settles deliveries of the same microsecond.
        found = found.filter(Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=pk), created_at__lte=moment)
    rows = list(found.order_by("-created_at", "-pk")[: size + 1])
    page = rows[:size]
    return DeliveryPage(page, _cursor_after(page[-1]) if len(rows) > size else None)


def _cursor_after(delivery: Delivery) -> str:
    return f"{(delivery.created_at - _EPOCH) // timedelta(microseconds=1)}-{delivery.pk.hex}"


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        microseconds, _, pk = cursor.partition("-")
        return _EPOCH + timedelta(microseconds=int(microseconds)), UUID(pk)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "This page of the log does not exist. Start again from the newest.", field="before"
        ) from error

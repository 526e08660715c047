"""Reads of webhooks and their deliveries. Each starts from a person, so a stranger's is simply not found."""

from uuid import UUID

from django.db.models import Q, QuerySet

from webapp import paging
from webapp.accounts.models import User
from webapp.errors import NotFound
from webapp.paging import Page, page_of
from webapp.webhooks.models import Delivery, Endpoint


def endpoints_of(user: User) -> QuerySet[Endpoint]:
    """What the person looks after, newest first: their own, and those of the service accounts they answer for."""
    return Endpoint.objects.filter(Q(owner=user) | Q(owner__responsible=user)).select_related("owner")


def endpoint_of(user: User, endpoint_id: UUID) -> Endpoint:
    """Raises NotFound also for somebody else's."""
    found = endpoints_of(user).filter(pk=endpoint_id).first()
    if found is None:
        raise NotFound("There is no such webhook.")
    return found


def delivery_of(user: User, endpoint_id: UUID, delivery_id: UUID) -> Delivery:
    """One delivery with its endpoint. Raises NotFound also for somebody else's."""
    found = Delivery.objects.select_related("endpoint").filter(endpoint__in=endpoints_of(user))
    delivery = found.filter(endpoint=endpoint_id, pk=delivery_id).first()
    if delivery is None:
        raise NotFound("There is no such delivery. They are kept for 30 days.")
    return delivery


def deliveries_of(
    endpoint: Endpoint, *, state: str = "", cursor: str | None = None, limit: int = paging.LIMIT
) -> Page[Delivery]:
    """One page of the endpoint's deliveries, newest first, without their bodies. state: only those in it.

    Raises InvalidInput for a cursor that was not made here.
    """
    found = Delivery.objects.filter(endpoint=endpoint).defer("body")
    if state:
        found = found.filter(state=state)
    return page_of(found, cursor=cursor, limit=limit)

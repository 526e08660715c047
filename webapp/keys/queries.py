from django.db.models import QuerySet

from webapp.accounts.models import User
from webapp.errors import NotFound
from webapp.keys.models import ApiKey


def keys_of(user: User) -> QuerySet[ApiKey]:
    """The keys the person has not revoked, newest first."""
    return ApiKey.objects.filter(owner=user, revoked_at=None).order_by("-created_at", "-pk")


def key_of(user: User, key_id: int) -> ApiKey:
    """One key of the person, revoked or not. Raises NotFound also for somebody else's."""
    try:
        return ApiKey.objects.get(owner=user, pk=key_id)
    except (ApiKey.DoesNotExist, OverflowError) as error:
        raise NotFound("There is no such API key.") from error

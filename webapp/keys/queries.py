from django.db.models import QuerySet

from webapp.accounts.models import User
from webapp.errors import NotFound
from webapp.keys.models import ApiKey


def keys_of(user: User) -> QuerySet[ApiKey]:
    """The person's keys, newest first; revoked ones too, so that a name in the history can be looked up."""
    return ApiKey.objects.filter(owner=user).order_by("-created_at", "-pk")


def key_of(user: User, key_id: int) -> ApiKey:
    """One key of the person. Raises NotFound also for somebody else's."""
    try:
        return ApiKey.objects.get(owner=user, pk=key_id)
    except (ApiKey.DoesNotExist, OverflowError) as error:
        raise NotFound("There is no such API key.") from error

from django.db.models import Q, QuerySet

from webapp.accounts.models import User
from webapp.errors import NotFound
from webapp.keys.models import ApiKey


def keys_of(user: User) -> QuerySet[ApiKey]:
    """The keys that the person looks after and has not revoked, newest first, with their owners and secrets.

    They are the person's own, and those of the service accounts that the person is responsible for.
    """
    return _looked_after_by(user).filter(revoked_at=None).order_by("-created_at", "-pk")


def live_keys_of(user: User) -> list[ApiKey]:
    """Those that work, the newest first."""
    return [key for key in keys_of(user) if key.is_live]


def key_of(user: User, key_id: int) -> ApiKey:
    """One of the keys that the person looks after, revoked or not. Raises NotFound also for somebody else's."""
    try:
        return _looked_after_by(user).get(pk=key_id)
    except (ApiKey.DoesNotExist, OverflowError) as error:
        raise NotFound("There is no such API key.") from error


def owners_for(user: User) -> list[User]:
    """Whose keys the person may make: the person, then the service accounts in use, by name."""
    return [user, *user.service_accounts.filter(is_active=True).order_by("name", "pk")]


def _looked_after_by(user: User) -> QuerySet[ApiKey]:
    mine = Q(owner=user) | Q(owner__responsible=user)
    return ApiKey.objects.filter(mine).select_related("owner").prefetch_related("secrets")

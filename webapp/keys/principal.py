"""Who is asking, whichever door they came through."""

from dataclasses import dataclass

from django.http import HttpRequest

from webapp.accounts.models import User
from webapp.errors import NotSignedIn
from webapp.keys.models import ApiKey, Scope


@dataclass(frozen=True)
class Principal:
    """The person who asks, the key they used (None: a page or the session), and what they may do."""

    user: User
    key: ApiKey | None
    scopes: frozenset[str]


def grantable_scopes(user: User) -> frozenset[str]:
    """What the person may do themselves, and so give to a key."""
    everyone = frozenset({Scope.FAQ.value, Scope.IMAGES.value, Scope.BATCH.value})
    return everyone | {Scope.ADMIN.value} if user.is_staff else everyone


def principal_of(request: HttpRequest) -> Principal:
    """The person signed in to the page, with all they may do. Raises NotSignedIn for a stranger."""
    user = request.user
    if not isinstance(user, User):
        raise NotSignedIn("Sign in to use this page.")
    return Principal(user, None, grantable_scopes(user))


def principal_of_key(key: ApiKey) -> Principal:
    """The owner through the key: a right the owner has lost is lost to the key too."""
    return Principal(key.owner, key, grantable_scopes(key.owner) & set(key.scopes))

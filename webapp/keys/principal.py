"""Who is asking, whichever door they came through."""

from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from webapp.accounts.models import User
from webapp.errors import NotSignedIn
from webapp.keys.models import ApiKey, Scope
from webapp.network import client_network


@dataclass(frozen=True)
class Principal:
    """The person who asks, the key they used (None: a page or the session), and what they may do."""

    user: User
    key: ApiKey | None
    scopes: frozenset[str]

    @property
    def routing_key(self) -> str:
        """What stays the same from request to request: while a canary runs, one version answers all of them."""
        return f"key:{self.key.pk}" if self.key else f"user:{self.user.pk}"


@dataclass(frozen=True)
class Visitor:
    """Somebody who has not signed in. network: where they come from, as limits count it."""

    network: str

    @property
    def routing_key(self) -> str:
        """As a principal's. Pods need not know addresses."""
        return f"visitor:{salted_hmac('routing of visitors', self.network).hexdigest()[:16]}"


def asking(request: HttpRequest) -> Principal | Visitor:
    """Who asks on a page that is open to everybody."""
    return principal_of(request) if isinstance(request.user, User) else Visitor(client_network(request))


def principal_of(request: HttpRequest) -> Principal:
    """The person signed in to the page, who may do everything themselves. Raises NotSignedIn for a stranger."""
    user = request.user
    if not isinstance(user, User):
        raise NotSignedIn("Sign in to use this page.")
    return Principal(user, None, frozenset(Scope.values))


def principal_of_key(key: ApiKey) -> Principal:
    """The owner through the key, which may do what its scopes say."""
    return Principal(key.owner, key, frozenset(key.scopes) & set(Scope.values))

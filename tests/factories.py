"""What tests start from: people and their keys, made through the site's own services."""

from datetime import datetime

from allauth.account.models import EmailAddress

from webapp.accounts.models import User
from webapp.keys import services
from webapp.keys.models import Scope
from webapp.keys.services import NewKey

PASSWORD = "correct horse battery"


def make_user(email: str = "owner@example.com", *, verified: bool = True, **fields: object) -> User:
    """A person who can sign in with PASSWORD."""
    user = User.objects.create_user(email, PASSWORD, **fields)
    EmailAddress.objects.create(user=user, email=email, primary=True, verified=verified)
    return user


def make_admin(email: str = "admin@example.com") -> User:
    return make_user(email, is_staff=True, is_superuser=True)


def make_key(
    owner: User,
    *scopes: str,
    name: str = "Script",
    expires_at: datetime | None = None,
) -> NewKey:
    """A live key, for questions and pictures unless other scopes are named; `.secret` is what a client sends."""
    wanted = scopes or (Scope.FAQ.value, Scope.IMAGES.value)
    return services.create(owner, name=name, scopes=wanted, expires_at=expires_at)


def bearer(key: NewKey | str) -> dict[str, str]:
    """The header that signs a request in: `client.get(path, headers=bearer(key))`."""
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key.secret}"}

"""What happens to a person's account as a whole."""

import structlog
from allauth.account.models import EmailAddress
from django.db import transaction

from webapp.accounts.models import User
from webapp.errors import NotAllowed

log = structlog.get_logger(__name__)


def delete(user: User) -> None:
    """Deletes the person with all that is theirs: keys, history, e-mail addresses, second factors.

    Raises NotAllowed for the last administrator: nobody could let another one in.
    """
    with transaction.atomic():
        others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
        if user.is_superuser and not others.exists():
            raise NotAllowed("You are the last administrator. Make somebody else one before you delete your account.")
        user_id = user.pk
        user.delete()
    log.info("account_deleted", user_id=user_id)


@transaction.atomic
def ensure_user(email: str, password: str, *, name: str, administrator: bool) -> bool:
    """Makes a person with a confirmed address, unless there is one; True when made. An existing one stays as is."""
    user, made = User.objects.get_or_create(
        email=email, defaults={"name": name, "is_staff": administrator, "is_superuser": administrator}
    )
    if made:
        user.set_password(password)
        user.save(update_fields=["password"])
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return made

"""What happens to a person's account as a whole."""

import secrets
from collections.abc import Collection

import structlog
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils.text import slugify

from webapp.accounts.models import SERVICE_DOMAIN, Role, User
from webapp.errors import InvalidInput, NotAllowed

log = structlog.get_logger(__name__)


def delete(user: User) -> None:
    """Deletes the person with all that is theirs: keys, history, e-mail addresses, second factors.

    Raises NotAllowed for the last administrator: nobody could let another one in; and for whoever is responsible for
    a service account.
    """
    with transaction.atomic():
        if user.service_accounts.exists():
            raise NotAllowed(
                "You are responsible for a service account. Ask an administrator to hand it to somebody else before "
                "you delete your account."
            )
        others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
        if user.is_superuser and not others.exists():
            raise NotAllowed("You are the last administrator. Make somebody else one before you delete your account.")
        user_id = user.pk
        user.delete()
    log.info("account_deleted", user_id=user_id)


def address_of_service(name: str) -> str:
    """What a service account of that name has for an address. Raises InvalidInput when another one has it."""
    address = f"{slugify(name)[:64] or secrets.token_hex(4)}@{SERVICE_DOMAIN}"
    if User.objects.filter(email=address).exists():
        raise InvalidInput("There is a service account of this name already, or nearly so.", field="name")
    return address


def make_service_account(name: str, responsible: User) -> User:
    """Makes one that owns API keys and never signs in.

    Raises InvalidInput for a name that another one has, and for a responsible who is no person.
    """
    if responsible.is_service:
        raise InvalidInput("A service account cannot be responsible for another one.", field="responsible")
    account = User(email=address_of_service(name), name=name, is_service=True, responsible=responsible)
    account.set_unusable_password()
    account.save(force_insert=True)
    log.info("service_account_made", user_id=account.pk, responsible_id=responsible.pk)
    return account


@transaction.atomic
def take_roles(user: User, roles: Collection[str]) -> None:
    """Gives the person these roles, as Role names them, and takes the others away. Other groups stay."""
    held = set(user.groups.filter(name__in=Role.values).values_list("name", flat=True))
    user.groups.add(*Group.objects.filter(name__in=set(roles) - held))
    user.groups.remove(*Group.objects.filter(name__in=held - set(roles)))


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

"""Who may enter the admin, and what is asked of them at its door."""

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.dispatch import receiver
from django.http import HttpRequest

from webapp.accounts.models import User

# In the session in which the authenticator app was set up, and so a code of it was typed: the person's id.
SET_UP_HERE = "second_factor_set_up_here"
# In the session: where the person was going when the second factor was asked for.
BACK_TO = "second_factor_back_to"


def may_enter(user: User | AnonymousUser) -> bool:
    return isinstance(user, User) and user.may_enter_admin


def needs_second_factor(user: User) -> bool:
    """Whether more is at stake than looking. Asked by rights, whatever group or page they were given by."""
    if not settings.ADMIN_MFA_REQUIRED:
        return False
    return user.is_staff or user.is_superuser or any(map(_changes_something, user.get_all_permissions()))


def _changes_something(permission: str) -> bool:
    """permission: as "app.view_model"."""
    return not permission.partition(".")[2].startswith("view_")


def may_see_history(user: User | AnonymousUser) -> bool:
    """Whether the person may read who changed what serves, when and why: in the admin and by API."""
    return user.has_perm("registry.view_event")


def has_second_factor(user: User) -> bool:
    return bool(is_mfa_enabled(user))


def gave_a_code(request: HttpRequest) -> bool:
    """Whether a code was typed in this session. In one that is older than the second factor it may not have been."""
    methods = {record.get("method") for record in get_authentication_records(request, request.user)}
    return "mfa" in methods or request.session.get(SET_UP_HERE) == request.user.pk


@receiver(authenticator_added)
def remember_where_it_was_set_up(
    request: HttpRequest, user: User, authenticator: Authenticator, **_signal: object
) -> None:
    if authenticator.type == Authenticator.Type.TOTP:  # new recovery codes need no code of the app
        request.session[SET_UP_HERE] = user.pk

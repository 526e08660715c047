"""Who may enter the admin, and what is asked of them at its door."""

import time

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from allauth.mfa.utils import is_mfa_enabled
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.dispatch import receiver
from django.http import HttpRequest
from django.urls import reverse

from webapp.accounts.models import User
from webapp.accounts.oidc.provider import PROVIDER

# In the session in which the authenticator app was set up, and so a code of it was typed: the person's id, and when.
SET_UP_HERE = "second_factor_set_up"
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
    """Whether a code was typed in this session, and not too long ago; the identity provider may see to that for us."""
    if settings.OIDC and settings.OIDC["asks_second_factor"] and came_with_company(request):
        return True
    since = time.time() - settings.ADMIN_MFA_AGE
    records = get_authentication_records(request, request.user)
    user_id, set_up_at = request.session.get(SET_UP_HERE, (None, 0))
    return any(record["method"] == "mfa" and record["at"] > since for record in records) or (
        user_id == request.user.pk and set_up_at > since
    )


def step_before(request: HttpRequest) -> str:
    """The address of the page that has to be passed before the rights of the person are of use; empty for none."""
    user = request.user
    if not isinstance(user, User):
        return ""
    if has_company_roles(user) and not came_with_company(request):
        return reverse("openid_connect_login", args=[PROVIDER])
    if not needs_second_factor(user) or gave_a_code(request):
        return ""
    return reverse("mfa_reauthenticate" if has_second_factor(user) else "accounts:second-factor")


def came_with_company(request: HttpRequest) -> bool:
    """Whether the person came by the organisation's identity provider, not too long ago."""
    since = time.time() - settings.ADMIN_MFA_AGE
    records = get_authentication_records(request, request.user)
    return any(record["method"] == "socialaccount" and record["at"] > since for record in records)


def has_company_roles(user: User) -> bool:
    """Whether the person's roles come from the organisation's groups: they are looked at when the person signs in."""
    return bool(settings.OIDC and settings.OIDC["roles"]) and SocialAccount.objects.filter(user=user).exists()


@receiver(authenticator_added)
def remember_where_it_was_set_up(
    request: HttpRequest, user: User, authenticator: Authenticator, **_signal: object
) -> None:
    if authenticator.type == Authenticator.Type.TOTP:  # new recovery codes need no code of the app
        request.session[SET_UP_HERE] = (user.pk, time.time())

"""What of accounts is in the security log: listens to allauth and to our own rows, so that no way in is left out."""

from collections.abc import Iterable
from typing import Any

from allauth.account import signals as account
from allauth.account.models import EmailAddress
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from allauth.socialaccount import signals as company
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.dispatch import receiver
from django.http import HttpRequest

from webapp.accounts.models import Plan, ServiceAccount, User
from webapp.audit.recording import Kind, record

# Of an account: its changes are events. The rest of a person's row is their own business.
WATCHED = {
    "email": Kind.ACCOUNT_CHANGED,
    "is_active": Kind.ACCOUNT_CHANGED,
    "responsible_id": Kind.ACCOUNT_CHANGED,
    "is_staff": Kind.ROLES_CHANGED,
    "is_superuser": Kind.ROLES_CHANGED,
    "plan_id": Kind.PLAN_CHANGED,
}


# Signing in and out ---------------------------------------------------------------------------------------------------


@receiver(account.user_logged_in)
def signed_in(request: HttpRequest, user: User, **_signal: Any) -> None:
    methods = [each["method"] for each in request.session.get("account_authentication_methods", [])]
    record(Kind.SIGNED_IN, account=user, by=user, methods=methods)


@receiver(user_logged_out)
def signed_out(user: User | None, **_signal: Any) -> None:
    if user is not None:
        record(Kind.SIGNED_OUT, account=user, by=user)


def sign_in_failed(login: str, kind: Kind = Kind.SIGN_IN_FAILED) -> None:
    """login: what was typed. It is kept only where it is somebody's address: it might be a password, typed in haste."""
    address = EmailAddress.objects.select_related("user").filter(email__iexact=login).first()
    person = address.user if address else User.objects.filter(email__iexact=login, is_service=False).first()
    if person is None:
        record(kind, known=False)
    else:
        record(kind, account=person)


@receiver(mfa.authentication_failed)
def second_factor_failed(user: User, **_signal: Any) -> None:
    record(Kind.SECOND_FACTOR_FAILED, account=user)


@receiver(mfa.authenticator_used)
def second_factor_used(user: User, authenticator: Authenticator, **_signal: Any) -> None:
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        record(Kind.RECOVERY_CODE_USED, account=user, by=user)


# What one signs in with -----------------------------------------------------------------------------------------------


@receiver(account.password_changed)
@receiver(account.password_set)
def password_changed(user: User, **_signal: Any) -> None:
    record(Kind.PASSWORD_CHANGED, account=user)


@receiver(account.password_reset)
def password_reset(user: User, **_signal: Any) -> None:
    record(Kind.PASSWORD_RESET, account=user)


@receiver(account.email_added)
def email_added(user: User, email_address: EmailAddress, **_signal: Any) -> None:
    record(Kind.EMAIL_ADDED, account=user, address=email_address.email)


@receiver(account.email_removed)
def email_removed(user: User, email_address: EmailAddress, **_signal: Any) -> None:
    record(Kind.EMAIL_REMOVED, account=user, address=email_address.email)


@receiver(account.email_changed)
def email_changed(user: User, to_email_address: EmailAddress, **_signal: Any) -> None:
    record(Kind.EMAIL_CHANGED, account=user, address=to_email_address.email)


@receiver(post_save, sender=Authenticator)
def authenticator_saved(instance: Authenticator, created: bool, **_signal: Any) -> None:
    if created:
        codes = instance.type == Authenticator.Type.RECOVERY_CODES
        record(Kind.RECOVERY_CODES_MADE if codes else Kind.SECOND_FACTOR_ADDED, account=instance.user)


@receiver(mfa.authenticator_reset)
def recovery_codes_made(user: User, **_signal: Any) -> None:
    record(Kind.RECOVERY_CODES_MADE, account=user)


@receiver(post_delete, sender=Authenticator)
def authenticator_deleted(instance: Authenticator, **_signal: Any) -> None:
    if instance.type != Authenticator.Type.RECOVERY_CODES:
        record(Kind.SECOND_FACTOR_REMOVED, account=instance.user)


@receiver(company.social_account_added)
def provider_connected(sociallogin: SocialLogin, **_signal: Any) -> None:
    record(Kind.PROVIDER_CONNECTED, account=sociallogin.user, provider=sociallogin.account.provider)


@receiver(post_delete, sender=SocialAccount)
def provider_disconnected(instance: SocialAccount, **_signal: Any) -> None:
    record(Kind.PROVIDER_DISCONNECTED, account=instance.user, provider=instance.provider)


# Accounts and what they may -------------------------------------------------------------------------------------------


@receiver(pre_save, sender=User)
@receiver(pre_save, sender=ServiceAccount)
def remember_before(instance: User, update_fields: Iterable[str] | None, **_signal: Any) -> None:
    """Keeps what the row has, for the event after it."""
    touched = update_fields is None or set(update_fields) & {name.removesuffix("_id") for name in WATCHED}
    before = User.objects.filter(pk=instance.pk).values(*WATCHED).first() if instance.pk and touched else None
    instance.audited_before = before  # type: ignore[attr-defined]  # ours, until the row is saved


@receiver(post_save, sender=User)
@receiver(post_save, sender=ServiceAccount)
def account_saved(instance: User, created: bool, **_signal: Any) -> None:
    before: dict[str, Any] | None = instance.__dict__.pop("audited_before", None)
    if created:
        role = "superuser" if instance.is_superuser else "staff" if instance.is_staff else ""
        record(Kind.ACCOUNT_MADE, account=instance, service=instance.is_service, role=role)
    for name, kind in WATCHED.items():
        if before is not None and before[name] != (now := getattr(instance, name)):
            if name == "plan_id":
                names = dict(Plan.objects.values_list("pk", "name"))
                record(kind, account=instance, plan=[names.get(before[name], ""), names.get(now, "")])
            else:
                change: dict[str, Any] = {name: [before[name], now]}
                record(kind, account=instance, **change)


@receiver(post_delete, sender=User)
@receiver(post_delete, sender=ServiceAccount)
def account_deleted(instance: User, **_signal: Any) -> None:
    record(Kind.ACCOUNT_DELETED, account=instance, service=instance.is_service)


@receiver(m2m_changed, sender=User.groups.through)
def groups_changed(instance: Model, action: str, reverse: bool, pk_set: set[int] | None, **_signal: Any) -> None:
    """A person's groups, changed from either side."""
    if action not in {"post_add", "post_remove", "pre_clear"} or pk_set == set():
        return
    if isinstance(instance, User):
        people = [instance]
        groups = Group.objects.filter(pk__in=pk_set) if pk_set else instance.groups.all()
    else:
        people = list(User.objects.filter(pk__in=pk_set) if pk_set else User.objects.filter(groups__pk=instance.pk))
        groups = Group.objects.filter(pk=instance.pk)
    names = sorted(groups.values_list("name", flat=True))
    for person in people if names else []:
        change: dict[str, Any] = {"added" if action == "post_add" else "removed": names}
        record(Kind.ROLES_CHANGED, account=person, **change)


@receiver(m2m_changed, sender=User.user_permissions.through)
@receiver(m2m_changed, sender=Group.permissions.through)
def rights_changed(instance: Model, model: type[Model], action: str, pk_set: set[int] | None, **_signal: Any) -> None:
    """What a person or a group may by itself."""
    if action not in {"post_add", "post_remove", "pre_clear"} or pk_set == set():
        return
    rights = sorted(map(str, model._default_manager.filter(pk__in=pk_set or ())))
    change: dict[str, Any] = {
        {"post_add": "added", "post_remove": "removed", "pre_clear": "cleared"}[action]: rights or True
    }
    whose = instance if isinstance(instance, User) else None
    record(Kind.RIGHTS_CHANGED, account=whose, about="" if whose else f"group {instance}", **change)


@receiver(post_save, sender=Plan)
def plan_saved(instance: Plan, created: bool, **_signal: Any) -> None:
    limits = {field.attname: getattr(instance, field.attname) for field in Plan._meta.fields[2:]}
    record(Kind.PLAN_CHANGED, about=f"plan {instance.name}", made=created, limits=limits)


@receiver(post_delete, sender=Plan)
def plan_deleted(instance: Plan, **_signal: Any) -> None:
    record(Kind.PLAN_CHANGED, about=f"plan {instance.name}", deleted=True)

"""The security log: what is in it, who reads it, and that nobody alters it."""

import json
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    PASSWORD,
    make_key,
    make_member,
    make_model,
    make_plan,
    make_service,
    make_user,
    make_version,
    make_webhook,
    rotate_key,
)
from tests.webapp.accounts.test_roles import as_form, code_of, with_app
from webapp.accounts.models import User
from webapp.audit.models import SecurityEvent
from webapp.audit.tasks import prune
from webapp.keys.models import ApiKey
from webapp.registry import services as registry
from webapp.registry.models import Event
from webapp.webhooks import services as webhooks

pytestmark = pytest.mark.django_db
Kind = SecurityEvent.Kind


def last(kind: Kind) -> SecurityEvent:
    """The newest event of the kind; fails when there is none."""
    event = SecurityEvent.objects.filter(kind=kind).first()
    assert event is not None, kinds()
    return event


def kinds() -> list[str]:
    """What happened, oldest first."""
    return [event.kind for event in SecurityEvent.objects.order_by("pk")]


def sign_in(client, password=PASSWORD, email="owner@example.com"):
    return client.post(reverse("account_login"), {"login": email, "password": password}, REMOTE_ADDR="192.0.2.7")


# Signing in -----------------------------------------------------------------------------------------------------------


def test_a_sign_in_is_written_with_who_how_and_from_where(owner, client):
    answer = sign_in(client)
    event = last(Kind.SIGNED_IN)
    assert (event.account, event.account_id, event.actor_id) == ("owner@example.com", owner.pk, owner.pk)
    assert (event.network, event.details) == ("192.0.2.7", {"methods": ["password"]})
    assert event.request_id == answer["X-Request-ID"]
    client.post(reverse("account_logout"))
    assert last(Kind.SIGNED_OUT).account_id == owner.pk


def test_a_failed_sign_in_is_written_for_the_account_it_was_meant_for(owner, client):
    sign_in(client, "not this one", "OWNER@example.com")
    event = last(Kind.SIGN_IN_FAILED)
    assert (event.account_id, event.actor_id, event.network) == (owner.pk, None, "192.0.2.7")


def test_too_many_failures_are_written_too(owner, client):
    for _ in range(6):
        sign_in(client, "not this one")
    assert kinds()[-6:] == [Kind.SIGN_IN_FAILED] * 5 + [Kind.SIGN_IN_HELD]


def test_what_was_typed_for_an_address_that_nobody_has_is_not_kept(client):
    sign_in(client, "not this one", "typed-my-password@wrong.field")
    event = last(Kind.SIGN_IN_FAILED)
    assert (event.account, event.details) == ("", {"known": False})
    assert "typed" not in everything()


def test_second_factors_are_written_when_they_come_fail_help_and_go(owner, client):
    secret = with_app(owner)
    last(Kind.SECOND_FACTOR_ADDED)
    sign_in(client)
    client.post(reverse("mfa_authenticate"), {"code": "000000"})
    assert last(Kind.SECOND_FACTOR_FAILED).account_id == owner.pk
    client.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    assert last(Kind.SIGNED_IN).details == {"methods": ["password", "mfa"]}
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    client.post(reverse("mfa_generate_recovery_codes"))
    last(Kind.RECOVERY_CODES_MADE)
    client.post(reverse("mfa_deactivate_totp"))
    assert last(Kind.SECOND_FACTOR_REMOVED).actor_id == owner.pk


def test_who_takes_off_somebodys_second_factor_in_the_admin_is_named(owner, admin, client):
    totp.TOTP.activate(owner, totp.generate_totp_secret())
    client.force_login(admin)
    page = reverse("admin:mfa_authenticator_delete", args=[Authenticator.objects.get(user=owner).pk])
    assert client.post(page, {"post": "yes"}).status_code == 302
    event = last(Kind.SECOND_FACTOR_REMOVED)
    assert (event.account, event.actor) == (owner.email, admin.email)


def test_password_and_addresses_are_written_without_what_they_are(owner_client, owner):
    new = "another horse battery"
    owner_client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    owner_client.post(reverse("account_change_password"), {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert last(Kind.PASSWORD_CHANGED).account_id == owner.pk
    owner_client.post(reverse("account_email"), {"action_add": "", "email": "second@example.com"})
    assert last(Kind.EMAIL_ADDED).details == {"address": "second@example.com"}
    assert new not in everything()


# Accounts and rights --------------------------------------------------------------------------------------------------


def test_a_new_account_and_its_end_are_written(client):
    form = {"email": "new@example.com", "password1": "correct horse battery"}
    client.post(reverse("account_signup"), form)
    event = last(Kind.ACCOUNT_MADE)
    assert (event.account, event.details) == ("new@example.com", {"service": False, "role": ""})
    client.post(reverse("accounts:delete"), {"password": "correct horse battery"})
    event = last(Kind.ACCOUNT_DELETED)
    assert (event.account, event.actor) == ("new@example.com", "new@example.com")


def test_who_gives_somebody_a_role_in_the_admin_is_named(owner, admin, client):
    make_member("viewer")  # the groups
    client.force_login(admin)
    operator = Group.objects.get(name="operator")
    page = reverse("admin:accounts_user_change", args=[owner.pk])
    assert client.post(page, as_form(client, owner, groups=[operator.pk], is_superuser="on")).status_code == 302
    group, superuser = SecurityEvent.objects.filter(kind=Kind.ROLES_CHANGED, account_id=owner.pk)[:2]
    assert (group.actor, group.details) == (admin.email, {"added": ["operator"]})
    assert superuser.details == {"is_superuser": [False, True]}


def test_a_role_taken_away_from_either_side_is_written(owner):
    make_member("viewer")
    operator = Group.objects.get(name="operator")
    operator.user_set.add(owner)
    assert last(Kind.ROLES_CHANGED).account_id == owner.pk
    owner.groups.clear()
    assert last(Kind.ROLES_CHANGED).details == {"removed": ["operator"]}


def test_rights_of_a_group_are_written_and_nothing_where_nothing_changed():
    make_member("viewer")
    operator, right = Group.objects.get(name="operator"), Permission.objects.get(codename="register_version")
    operator.permissions.add(right)
    assert last(Kind.RIGHTS_CHANGED).about == "group operator"
    before = kinds()
    operator.permissions.add(right)
    assert kinds() == before


def test_an_account_switched_off_and_its_plan_are_written(owner, admin, client):
    plan = make_plan(name="Large", month_rows_per_user=7)
    assert last(Kind.PLAN_CHANGED).details["limits"]["month_rows_per_user"] == 7
    client.force_login(admin)
    page = reverse("admin:accounts_user_change", args=[owner.pk])
    client.post(page, as_form(client, owner, plan=plan.pk, is_active=""))
    assert last(Kind.PLAN_CHANGED).details == {"plan": ["", "Large"]}
    event = last(Kind.ACCOUNT_CHANGED)
    assert (event.details, event.actor) == ({"is_active": [True, False]}, admin.email)


def test_a_password_set_by_an_administrator_is_written_with_who_did(owner, admin, client):
    client.force_login(admin)
    new = {"usable_password": "true", "password1": "another horse battery", "password2": "another horse battery"}
    client.post(reverse("admin:auth_user_password_change", args=[owner.pk]), {**new, "password2": "else"})
    assert Kind.PASSWORD_CHANGED not in kinds()
    assert client.post(reverse("admin:auth_user_password_change", args=[owner.pk]), new).status_code == 302
    event = last(Kind.PASSWORD_CHANGED)
    assert (event.account, event.actor) == (owner.email, admin.email)


def test_saving_what_is_nobody_elses_business_writes_nothing(owner, owner_client):
    before = kinds()
    owner_client.post(reverse("accounts:profile"), {"name": "Olivia"})
    assert User.objects.get(pk=owner.pk).name == "Olivia"
    assert kinds() == before


# Keys, webhooks, versions ---------------------------------------------------------------------------------------------


def test_the_life_of_a_key_is_written_by_its_public_part(owner_client, owner):
    page = owner_client.post(reverse("keys:list"), {"name": "Script", "scopes": ["faq:read"]})
    key = ApiKey.objects.get()
    rotate_key(page.context["new_key"])
    owner_client.post(reverse("keys:end-old", args=[key.pk]))
    owner_client.post(reverse("keys:change", args=[key.pk]), {"name": "Other", "networks": "192.0.2.0/24"})
    owner_client.post(reverse("keys:revoke", args=[key.pk]))
    events = SecurityEvent.objects.filter(about=key.prefix).order_by("pk")
    assert [event.kind for event in events] == [
        Kind.KEY_CREATED,
        Kind.KEY_ROTATED,
        Kind.KEY_OLD_SECRETS_ENDED,
        Kind.KEY_CHANGED,
        Kind.KEY_REVOKED,
    ]
    assert events[0].details == {"scopes": ["faq:read"], "networks": ""}
    assert {(event.account_id, event.actor_id) for event in events} == {(owner.pk, owner.pk), (owner.pk, None)}
    assert page.context["new_key"].secret.rpartition("_")[2] not in everything()


def test_a_key_of_a_service_account_names_it_and_who_made_it(owner):
    service = make_service(owner)
    make_key(service)
    event = last(Kind.KEY_CREATED)
    assert event.account == service.email
    assert SecurityEvent.objects.filter(kind=Kind.ACCOUNT_MADE, account=service.email, details__service=True).exists()


def test_webhooks_are_written_by_their_host_and_without_secrets(owner):
    endpoint = make_webhook(owner, url="https://hooks.example.com/secret-path")
    new = webhooks.rotate(endpoint)
    webhooks.change(endpoint, description="Other")
    webhooks.delete(endpoint)
    assert kinds()[-3:] == [Kind.WEBHOOK_SECRET_ROTATED, Kind.WEBHOOK_CHANGED, Kind.WEBHOOK_DELETED]
    assert last(Kind.WEBHOOK_DELETED).details == {"host": "hooks.example.com"}
    assert new.secret not in everything()
    assert "secret-path" not in everything()


def test_a_version_that_begins_to_serve_refers_to_the_history(owner):
    model = make_model()
    version = make_version(model, "2", "champion")
    event = registry.record_event(model, Event.Kind.PROMOTED, by=owner, version=version)
    registry.record_event(model, Event.Kind.CONVERGED, by=None, version=version)
    assert kinds().count(Kind.MODEL_CHANGED) == 1
    written = last(Kind.MODEL_CHANGED)
    assert (written.about, written.actor) == ("faq-javascript 2", owner.email)
    assert written.details == {"what": "promoted", "history_event": event.pk}


# The log itself -------------------------------------------------------------------------------------------------------


def everything() -> str:
    """All that is in the log, as text."""
    return json.dumps(list(SecurityEvent.objects.values()), default=str)


@pytest.fixture
def event(owner) -> SecurityEvent:
    return last(Kind.ACCOUNT_MADE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda event: SecurityEvent.objects.filter(pk=event.pk).update(actor="nobody"), id="update"),
        pytest.param(lambda event: event.save(), id="save"),
        pytest.param(lambda event: event.delete(), id="delete"),
        pytest.param(
            lambda event: SecurityEvent.objects.bulk_create(
                [event], update_conflicts=True, unique_fields=["id"], update_fields=["actor"]
            ),
            id="upsert",
        ),
    ],
)
def test_no_code_alters_or_deletes_an_event(event, change):
    with pytest.raises(IntegrityError, match="cannot be altered"), transaction.atomic():
        change(event)
    assert SecurityEvent.objects.filter(pk=event.pk, kind=Kind.ACCOUNT_MADE).exists()


@pytest.mark.sqlite
def test_nor_does_a_row_put_in_its_place(event):
    with (
        pytest.raises(IntegrityError, match="cannot be altered"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("INSERT OR REPLACE INTO audit_securityevent SELECT * FROM audit_securityevent")


def test_events_go_when_they_are_old_and_not_before(settings):
    settings.AUDIT_KEPT_DAYS = 100
    now = timezone.now()
    for days in (99, 101):
        SecurityEvent.objects.create(kind=Kind.SIGNED_IN, at=now - timedelta(days=days), about=str(days))
    prune()
    assert [event.about for event in SecurityEvent.objects.all()] == ["99"]


def test_nothing_younger_than_the_database_keeps_goes_whatever_the_setting_says(settings):
    settings.AUDIT_KEPT_DAYS = 10
    SecurityEvent.objects.create(kind=Kind.SIGNED_IN, at=timezone.now() - timedelta(days=80))
    with pytest.raises(IntegrityError), transaction.atomic():
        prune()


def test_the_group_admin_reads_filters_and_searches_it_and_changes_nothing(event, owner, client):
    client.force_login(make_member("admin"))
    listed = reverse("admin:audit_securityevent_changelist")
    assert owner.email in client.get(listed, {"q": owner.email}).content.decode()
    assert owner.email not in client.get(listed, {"kind__exact": Kind.KEY_REVOKED}).content.decode()
    page = client.get(reverse("admin:audit_securityevent_change", args=[event.pk]))
    assert "Account made" in page.content.decode()
    assert client.post(reverse("admin:audit_securityevent_change", args=[event.pk]), {}).status_code == 403
    assert client.post(reverse("admin:audit_securityevent_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:audit_securityevent_add")).status_code == 403


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_the_others_do_not_see_it(client, role):
    client.force_login(make_member(role))
    assert client.get(reverse("admin:audit_securityevent_changelist")).status_code == 403


def test_an_event_is_a_line_of_the_log_without_addresses_of_people(owner, caplog):
    caplog.set_level("INFO")
    sign_in(Client())
    lines = [record.getMessage() for record in caplog.records if "security_event" in record.getMessage()]
    assert any("signed_in" in line for line in lines)
    assert not any("owner@example.com" in line for line in lines)


def test_what_runs_at_the_command_line_is_written_too(settings):
    settings.FIRST_USERS = {
        "admin": {"name": "Root", "email": "root@example.com", "password": "correct horse battery"},
        "demo": {"name": "Demo", "email": "demo@example.com", "password": ""},
    }
    call_command("ensure_users", verbosity=0)
    event = last(Kind.ACCOUNT_MADE)
    assert (event.account, event.actor, event.details["role"]) == ("root@example.com", "", "superuser")


def test_a_stranger_in_the_request_is_no_actor(client):
    make_user("owner@example.com")
    sign_in(client, "not this one")
    assert last(Kind.SIGN_IN_FAILED).actor == ""

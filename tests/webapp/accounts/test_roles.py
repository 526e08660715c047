"""The groups that a migration makes, the admin's door, and the second factor it asks for."""

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import PASSWORD, make_member, make_roles, make_user
from webapp.accounts.models import User

pytestmark = pytest.mark.django_db

ADMIN = "/admin/"


@pytest.fixture
def second_factor_needed(settings):
    settings.ADMIN_MFA_REQUIRED = True


def signed_in(user: User) -> Client:
    client = Client()
    client.post(reverse("account_login"), {"login": user.email, "password": PASSWORD})
    return client


def code_of(secret: str, later: int = 0) -> str:
    """What the authenticator app shows; `later` steps of 30 seconds from now, for no code counts twice."""
    return totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time())) + later))


def with_app(user: User) -> str:
    """Sets up the person's authenticator app, elsewhere; returns its secret."""
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(user, secret)
    return secret


# Roles ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("viewer", ["view_scoringmodel", "view_event"], ["operate_scoringmodel", "register_version"]),
        ("operator", ["view_event", "operate_scoringmodel"], ["register_version", "delete_artifact"]),
        ("admin", ["operate_scoringmodel", "register_version", "delete_artifact", "change_scoringmodel"], []),
    ],
)
def test_each_role_may_what_the_one_before_it_may_and_more(role, may, may_not):
    member = make_member(role)
    assert [each for each in may if not member.has_perm(f"registry.{each}")] == []
    assert [each for each in may_not if member.has_perm(f"registry.{each}")] == []


def test_making_the_roles_again_changes_nothing_and_keeps_what_was_added_by_hand():
    make_member("operator")
    extra = Group.objects.get(name="admin").permissions.get(codename="change_user")
    Group.objects.get(name="operator").permissions.add(extra)
    before = {group.name: set(group.permissions.all()) for group in Group.objects.all()}
    make_roles()
    assert {group.name: set(group.permissions.all()) for group in Group.objects.all()} == before


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_member_of_a_role_enters_the_admin_and_finds_the_way_there(client, role):
    client.force_login(make_member(role))
    assert client.get(ADMIN).status_code == 200
    assert f'href="{ADMIN}"' in client.get(reverse("accounts:profile")).content.decode()


def test_a_person_without_a_role_is_told_why_the_admin_is_closed(owner_client):
    answer = owner_client.get(ADMIN, follow=True)
    assert answer.status_code == 403
    assert "You have no role here" in answer.content.decode()
    assert f'href="{ADMIN}"' not in owner_client.get(reverse("accounts:profile")).content.decode()


def test_the_menu_of_a_page_costs_no_query_for_groups(owner_client):
    with CaptureQueriesContext(connection) as queries:
        assert owner_client.get(reverse("accounts:profile")).status_code == 200
    assert [query["sql"] for query in queries if 'SELECT "auth_group"' in query["sql"]] == []


def test_a_member_who_was_switched_off_does_not_get_in(client):
    member = make_member("admin")
    client.force_login(member)
    User.objects.filter(pk=member.pk).update(is_active=False)
    assert client.get(ADMIN).status_code == 302


def test_a_viewer_sees_people_nowhere_in_the_admin(client):
    client.force_login(make_member("viewer"))
    assert reverse("admin:accounts_user_changelist") not in client.get(ADMIN).content.decode()
    assert client.get(reverse("admin:accounts_user_changelist")).status_code == 403


# No way up ------------------------------------------------------------------------------------------------------------


def as_form(client: Client, user: User, **changes: object) -> dict[str, object]:
    """The fields of the person's page as the browser would send them, with some of them changed."""
    form = client.get(reverse("admin:accounts_user_change", args=[user.pk])).context["adminform"].form
    fields = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    plain = {name: value for name, value in fields.items() if value not in (None, False, [])}
    return {**{name: value for name, value in plain.items() if not hasattr(value, "year")}, **changes}


def test_an_admin_gives_roles_but_nothing_above_them(client, owner):
    client.force_login(make_member("admin"))
    operator = Group.objects.get(name="operator")
    page = reverse("admin:accounts_user_change", args=[owner.pk])
    changes = {"groups": [operator.pk], "is_superuser": "on", "is_staff": "on", "user_permissions": ["1"]}
    assert client.post(page, as_form(client, owner, **changes)).status_code == 302
    owner = User.objects.get(pk=owner.pk)
    assert owner.roles == {"operator"}
    assert (owner.is_superuser, owner.is_staff, owner.user_permissions.count()) == (False, False, 0)


def test_an_admin_does_not_touch_a_superuser(client, admin):
    client.force_login(make_member("admin", "other@example.com"))
    assert client.post(reverse("admin:accounts_user_change", args=[admin.pk]), {"email": "x@y.z"}).status_code == 403
    new = "another horse battery"
    password_page = reverse("admin:auth_user_password_change", args=[admin.pk])
    assert client.post(password_page, {"password1": new, "password2": new}).status_code == 403
    assert User.objects.get(pk=admin.pk).check_password(PASSWORD)


def test_a_superuser_makes_another_one(client, admin, owner):
    client.force_login(admin)
    page = reverse("admin:accounts_user_change", args=[owner.pk])
    client.post(page, as_form(client, owner, is_superuser="on"))
    assert User.objects.get(pk=owner.pk).is_superuser


# The second factor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["operator", "admin", "superuser", "staff"])
def test_who_can_change_things_is_led_to_a_second_factor(second_factor_needed, who):
    member = (
        make_member(who) if who in {"operator", "admin"} else make_user(f"{who}@example.com", **{f"is_{who}": True})
    )
    answer = signed_in(member).get("/admin/?from=mail", follow=True)
    assert answer.redirect_chain[-1][0].startswith(reverse("accounts:second-factor"))
    page = answer.content.decode()
    assert "One more step before the administration" in page
    assert reverse("mfa_activate_totp") in page


@pytest.mark.parametrize("given", ["by a group", "by hand"])
def test_who_can_change_things_without_being_called_an_operator_is_led_there_too(second_factor_needed, given):
    member = make_member("viewer")
    operate = Permission.objects.get(content_type__app_label="registry", codename="operate_scoringmodel")
    if given == "by a group":
        group = Group.objects.create(name="night shift")
        group.permissions.add(operate)
        member.groups.add(group)
    else:
        member.user_permissions.add(operate)
    answer = signed_in(member).get(ADMIN)
    assert answer["Location"].startswith(reverse("accounts:second-factor"))


def test_a_viewer_needs_none(second_factor_needed):
    assert signed_in(make_member("viewer")).get(ADMIN).status_code == 200


def test_without_the_setting_nobody_needs_one(settings):
    settings.ADMIN_MFA_REQUIRED = False
    assert signed_in(make_member("admin")).get(ADMIN).status_code == 200


def test_no_page_of_the_admin_opens_before_it(second_factor_needed):
    client = signed_in(make_member("admin"))
    for page in (reverse("admin:accounts_user_changelist"), reverse("admin:keys_apikey_changelist"), "/admin/jsi18n/"):
        assert client.get(page)["Location"].startswith(reverse("accounts:second-factor")), page


@pytest.mark.django_db(transaction=True)
def test_setting_it_up_leads_back_to_where_one_was_going(second_factor_needed):
    client = signed_in(make_member("operator"))
    there = reverse("admin:faq_collection_changelist")
    client.get(there, follow=True)
    page = client.get(reverse("mfa_activate_totp"), follow=True)
    if "password" in page.context["form"].fields:  # asked for once more, when the sign-in is a while ago
        page = client.post(page.redirect_chain[-1][0], {"password": PASSWORD}, follow=True)
    secret = page.context["form"].secret
    codes = client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)}, follow=True)
    assert f'href="{there}"' in codes.content.decode()
    assert client.get(there).status_code == 200


def test_a_sign_in_with_a_code_opens_the_admin_at_once(second_factor_needed):
    member = make_member("operator")
    secret = with_app(member)
    client = signed_in(member)
    client.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    assert client.get(ADMIN).status_code == 200


def test_a_session_from_before_the_second_factor_gives_a_code_first(second_factor_needed):
    member = make_member("operator")
    client = signed_in(member)
    secret = with_app(member)
    answer = client.get(ADMIN, follow=True)
    assert answer.redirect_chain[-1][0].startswith(reverse("mfa_reauthenticate"))
    assert client.post(answer.redirect_chain[-1][0], {"code": code_of(secret)})["Location"] == ADMIN
    assert client.get(ADMIN).status_code == 200


def test_a_code_typed_long_ago_is_asked_for_again(second_factor_needed, settings):
    settings.ADMIN_MFA_AGE = 3600
    member = make_member("operator")
    secret = with_app(member)
    client = signed_in(member)
    client.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 3601
    session.save()
    assert client.get(ADMIN)["Location"].startswith(reverse("mfa_reauthenticate"))
    client.post(reverse("mfa_reauthenticate"), {"code": code_of(secret, later=1)})
    assert client.get(ADMIN).status_code == 200


def test_new_recovery_codes_are_no_code_of_the_app(second_factor_needed):
    member = make_member("operator")
    client = signed_in(member)
    with_app(member)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    client.post(reverse("mfa_generate_recovery_codes"))
    assert Authenticator.objects.filter(user=member, type=Authenticator.Type.RECOVERY_CODES).exists()
    assert client.get(ADMIN).status_code == 302


def test_the_door_leads_to_no_other_site(second_factor_needed):
    client = signed_in(make_member("viewer"))
    assert client.get("/admin/login/?next=https://evil.example/")["Location"] == ADMIN


def test_the_admin_has_no_sign_out_and_password_form_of_its_own(client, admin):
    client.force_login(admin)
    assert client.get("/admin/password_change/")["Location"] == reverse("account_change_password")
    assert client.post("/admin/logout/")["Location"] == reverse("account_logout")

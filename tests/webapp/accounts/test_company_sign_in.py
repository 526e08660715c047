"""Sign-in with the organisation's identity provider, here a small one of our own that speaks OpenID Connect."""

import re
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.core import mail
from django.test import Client
from django.urls import reverse

from tests.factories import PASSWORD, make_member, make_roles, make_user
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, identity_provider
from webapp.accounts.models import User
from webapp.audit.models import SecurityEvent

pytestmark = pytest.mark.django_db

ADMIN = "/admin/"
LOGIN = "/accounts/oidc/company/login/"


@pytest.fixture(scope="module")
def running() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture
def company(running, settings) -> IdentityProvider:
    """The provider, at which Ada signs in, and the site that knows it."""
    running.faults.clear()
    running.person = {"sub": "ada-1", "email": "ada@corp.example", "name": "Ada Lovelace", "groups": []}
    settings.OIDC = {
        "issuer": running.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "name": "Corp",
        "roles": {},
        "roles_claim": "groups",
        "email_domains": ["corp.example"],
        "sign_up": True,
        "asks_second_factor": False,
    }
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    return running


def come_back(client: Client, page: str = f"{LOGIN}?process=login"):
    """What the site answers to who has gone to the provider, as the page says, and comes back."""
    there = client.post(page)["Location"]
    back = httpx.get(there).headers["Location"]
    assert back.startswith("http://127.0.0.1:8000/accounts/oidc/company/login/callback/?")
    return client.get(back.removeprefix("http://127.0.0.1:8000"), follow=True)


def sign_in_by_password(client: Client, person: User) -> None:
    """Signs in, and gives the password once more, as connecting asks for."""
    client.post(reverse("account_login"), {"login": person.email, "password": PASSWORD})
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})


def signed_in_as(client: Client) -> User | None:
    person = client.get(reverse("accounts:profile"))
    return person.context["user"] if person.status_code == 200 else None


# Where it is offered --------------------------------------------------------------------------------------------------


def test_the_sign_in_page_offers_it_and_leads_back_to_where_one_was_going(client, company):
    page = client.get(reverse("account_login"), {"next": "/keys/"}).content.decode()
    assert "Sign in with Corp" in page
    action = re.search(r'action="(/accounts/oidc/company/login/[^"]*)"', page).group(1).replace("&amp;", "&")
    assert come_back(client, action).redirect_chain[-1] == ("/keys/", 302)


def test_without_a_provider_nothing_of_it_is_there(client, owner_client, owner):
    assert "Sign in with" not in client.get(reverse("account_login")).content.decode().replace("Sign in with it", "")
    assert reverse("socialaccount_connections") not in owner_client.get(reverse("accounts:profile")).content.decode()
    assert client.post(LOGIN).status_code == 404
    assert client.get(f"{LOGIN}callback/?code=1&state=2").status_code == 404


def test_only_the_provider_of_the_settings_is_there(client, company):
    assert client.post("/accounts/oidc/other/login/").status_code == 404


def test_a_link_alone_sends_nobody_there(client, company):
    page = client.get(LOGIN)
    assert page.status_code == 200
    assert "Go to Corp" in page.content.decode()


# Who comes for the first time -----------------------------------------------------------------------------------------


def test_who_comes_for_the_first_time_gets_an_account(client, company):
    come_back(client)
    person = signed_in_as(client)
    assert (person.email, person.name, person.role) == ("ada@corp.example", "Ada Lovelace", "")
    assert not person.has_usable_password()
    assert EmailAddress.objects.get(user=person).verified


def test_the_second_time_it_is_the_same_account_whatever_the_address_is_by_then(client, company):
    come_back(client)
    company.person |= {"email": "countess@corp.example"}
    elsewhere = Client()
    come_back(elsewhere)
    assert signed_in_as(elsewhere) == signed_in_as(client)
    assert User.objects.count() == 1


def test_an_address_elsewhere_is_confirmed_by_mail_first(client, company):
    company.person |= {"email": "ada@guests.example"}
    come_back(client)
    assert signed_in_as(client) is None
    assert mail.outbox[0].to == ["ada@guests.example"]


def test_where_nobody_may_sign_up_so_nobody_does(client, company, settings):
    settings.OIDC["sign_up"] = False
    come_back(client)
    assert User.objects.count() == 0


@pytest.mark.parametrize("email", [None, "", "no address"])
def test_who_has_no_address_over_there_is_told(client, company, email):
    company.person["email"] = email
    assert "has no e-mail address" in come_back(client).content.decode()
    assert User.objects.count() == 0


def test_nobody_comes_as_a_service_account(client, company, settings):
    settings.OIDC["email_domains"] = ["service.invalid"]
    company.person["email"] = "bot@service.invalid"
    assert "has no e-mail address" in come_back(client).content.decode()
    assert User.objects.count() == 0


# Addresses that are taken ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("email", ["owner@example.com", "OWNER@Example.com"])
def test_an_address_that_is_taken_opens_nothing(client, company, owner, settings, email):
    settings.OIDC["email_domains"] = ["example.com"]
    company.person |= {"email": email, "email_verified": True}
    page = come_back(client).content.decode()
    assert "There is an account with the address of your Corp account already" in page
    assert signed_in_as(client) is None
    assert not SocialAccount.objects.exists()


def test_nor_does_one_that_somebody_has_as_a_second_address(client, company, owner):
    EmailAddress.objects.create(user=owner, email="ada@corp.example", verified=False)
    come_back(client)
    assert signed_in_as(client) is None


def test_signed_in_one_connects_it_and_comes_by_it_from_then_on(client, company, owner):
    sign_in_by_password(client, owner)
    company.person["email"] = owner.email
    page = client.get(reverse("socialaccount_connections")).content.decode()
    action = re.search(r'action="(/accounts/oidc/[^"]*)"', page).group(1).replace("&amp;", "&")
    assert "Connected." in come_back(client, action).content.decode()
    assert mail.outbox[-1].to == [owner.email]
    elsewhere = Client()
    come_back(elsewhere)
    assert signed_in_as(elsewhere) == owner


def test_what_is_connected_can_be_disconnected(client, company, owner):
    sign_in_by_password(client, owner)
    come_back(client, f"{LOGIN}?process=connect")
    client.post(reverse("socialaccount_connections"), {"account": SocialAccount.objects.get().pk})
    assert not SocialAccount.objects.exists()
    company.person["email"] = owner.email
    elsewhere = Client()
    come_back(elsewhere)
    assert signed_in_as(elsewhere) is None


def test_connecting_asks_for_the_password_once_more(client, company, owner):
    client.post(reverse("account_login"), {"login": owner.email, "password": PASSWORD})
    answer = come_back(client, f"{LOGIN}?process=connect")
    assert answer.redirect_chain[-1][0].startswith(reverse("account_reauthenticate"))
    assert not SocialAccount.objects.exists()


def test_one_account_over_there_has_one_account_here(client, company, owner):
    come_back(client)
    other = Client()
    sign_in_by_password(other, owner)
    assert "connected with another account" in come_back(other, f"{LOGIN}?process=connect").content.decode()
    assert SocialAccount.objects.get().user.email == "ada@corp.example"


# Groups and roles -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(company, settings) -> IdentityProvider:
    """Two groups have roles."""
    make_roles()
    settings.OIDC["roles"] = {"g-ops": "operator", "g-admins": "admin"}
    return company


def roles_of(person: str = "ada@corp.example") -> set[str]:
    return set(User.objects.get(email=person).groups.values_list("name", flat=True))


def test_groups_give_roles_at_each_sign_in_and_take_them(mapped):
    mapped.person["groups"] = ["g-ops", "g-lunch"]
    come_back(Client())
    assert roles_of() == {"operator"}
    mapped.person["groups"] = ["g-admins"]
    come_back(Client())
    assert roles_of() == {"admin"}
    changes = SecurityEvent.objects.filter(kind="roles_changed", account="ada@corp.example").order_by("pk")
    assert [change.details for change in changes] == [
        {"added": ["operator"]},
        {"added": ["admin"]},
        {"removed": ["operator"]},
    ]


@pytest.mark.parametrize("groups", [None, [], "g-admins", {"g-admins": 1}])
def test_without_groups_in_the_token_there_is_no_role(mapped, groups):
    mapped.person["groups"] = ["g-admins"]
    come_back(Client())
    mapped.person["groups"] = groups
    come_back(Client())
    assert roles_of() == set()


def test_more_groups_than_fit_into_a_token_are_told_in_the_log(mapped, caplog):
    del mapped.person["groups"]
    mapped.person["_claim_names"] = {"groups": "src1"}
    come_back(Client())
    assert "oidc_groups_missing" in caplog.text


def test_a_role_of_another_claim(mapped, settings):
    settings.OIDC |= {"roles": {"Scorepod.Admin": "admin"}, "roles_claim": "roles"}
    mapped.person |= {"roles": ["Scorepod.Admin"], "groups": ["g-ops"]}
    come_back(Client())
    assert roles_of() == {"admin"}


def test_groups_make_no_superuser_and_leave_other_groups(mapped, client):
    come_back(client)
    person = User.objects.get(email="ada@corp.example")
    night_shift = person.groups.create(name="night shift")
    mapped.person["groups"] = ["g-ops"]
    come_back(Client())
    assert roles_of() == {"operator", night_shift.name}
    person.refresh_from_db()
    assert not person.is_superuser
    assert not person.is_staff


def test_without_a_mapping_roles_are_given_in_the_admin(company, client):
    come_back(client)
    member = make_member("viewer")
    User.objects.get(email="ada@corp.example").groups.set(member.groups.all())
    come_back(Client())
    assert roles_of() == {"viewer"}


def test_the_admin_opens_for_mapped_roles_only_after_a_sign_in_over_there(mapped, settings):
    mapped.person["groups"] = ["g-ops"]
    browser = Client()
    come_back(browser)
    assert browser.get(ADMIN).status_code == 200
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] -= settings.ADMIN_MFA_AGE + 1
    session.save()
    assert browser.get(ADMIN)["Location"] == f"{LOGIN}?next=%2Fadmin%2F"
    mapped.person["groups"] = []  # she has left the group since
    assert come_back(browser, f"{LOGIN}?process=login&next=%2Fadmin%2F").status_code == 403


def test_a_session_with_mapped_roles_ends_before_they_grow_old(mapped, settings):
    mapped.person["groups"] = ["g-ops"]
    browser = Client()
    come_back(browser)
    assert browser.session.get_expiry_age() <= settings.ADMIN_MFA_AGE
    other = Client()
    sign_in_by_password(other, make_user("nobody@home.example"))
    assert other.session.get_expiry_age() > settings.ADMIN_MFA_AGE


def test_the_second_factor_is_asked_for_here_unless_the_provider_does(mapped, settings):
    settings.ADMIN_MFA_REQUIRED = True
    mapped.person["groups"] = ["g-ops"]
    browser = Client()
    come_back(browser)
    assert browser.get(ADMIN)["Location"].startswith(reverse("accounts:second-factor"))
    settings.OIDC["asks_second_factor"] = True
    assert browser.get(ADMIN).status_code == 200


def test_a_password_does_not_stand_in_for_the_providers_second_factor(company, settings):
    settings.ADMIN_MFA_REQUIRED = True
    settings.OIDC["asks_second_factor"] = True
    member = make_member("operator")
    browser = Client()
    browser.post(reverse("account_login"), {"login": member.email, "password": PASSWORD})
    assert browser.get(ADMIN)["Location"].startswith(reverse("accounts:second-factor"))


# What is not believed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "signed by another",
        "unsigned",
        "nonsense",
        "without the key's name",
        "expired",
        "another audience",
        "issued by another",
        "no id_token",
    ],
)
def test_a_token_that_cannot_be_believed_opens_nothing(client, company, fault):
    company.faults.add(fault)
    answer = come_back(client)
    assert answer.status_code == 401
    assert "Sign-in did not work" in answer.content.decode()
    assert User.objects.count() == 0
    assert SecurityEvent.objects.filter(kind="sign_in_failed", details__provider="company").exists()


def test_an_answer_that_this_browser_has_not_asked_for_opens_nothing(client, company):
    there = client.post(LOGIN)["Location"]
    back = httpx.get(there).headers["Location"].removeprefix("http://127.0.0.1:8000")
    assert Client().get(back).status_code == 401
    assert User.objects.count() == 0


def test_a_code_that_was_stolen_is_no_use_without_the_browsers_own_secret(client, company):
    there = client.post(LOGIN)["Location"]
    stolen = httpx.get(there).headers["Location"]
    code = re.search(r"code=([^&]+)", stolen).group(1)
    thief = Client()
    state = re.search(r"state=([^&]+)", thief.post(LOGIN)["Location"]).group(1)
    assert thief.get(f"{LOGIN}callback/?code={code}&state={state}").status_code == 401


def test_a_provider_that_calls_itself_another_one_is_not_asked(client, company):
    company.faults.add("another issuer")
    assert client.post(LOGIN).status_code == 401


def test_a_provider_that_is_away_is_no_error_of_ours(client, company, settings):
    settings.OIDC["issuer"] = "http://127.0.0.1:9/tenant/v2.0"  # nobody listens there
    answer = client.post(LOGIN)
    assert answer.status_code == 401
    assert "Sign-in did not work" in answer.content.decode()


def test_cancelling_over_there_leads_back(client, company):
    company.faults.add("cancelled")
    assert "You cancelled the sign-in" in come_back(client).content.decode()


def test_who_is_switched_off_here_does_not_get_in(client, company):
    come_back(client)
    User.objects.update(is_active=False)
    elsewhere = Client()
    come_back(elsewhere)
    assert signed_in_as(elsewhere) is None
    assert signed_in_as(client) is None


def test_the_host_header_decides_nothing(client, company):
    there = client.post(LOGIN, headers={"Host": "localhost:8000"})["Location"]
    assert "redirect_uri=http%3A%2F%2F127.0.0.1%3A8000%2Faccounts" in there


# What is kept ---------------------------------------------------------------------------------------------------------


def test_no_token_is_kept_and_of_the_claims_only_what_is_shown(client, company):
    company.person |= {"phone_number": "+44 1", "oid": "object-1"}
    come_back(client)
    assert not SocialToken.objects.exists()
    assert set(SocialAccount.objects.get().extra_data) == {"email", "name", "groups"}


def test_an_account_without_a_password_is_deleted_by_typing_its_address(client, company):
    come_back(client)
    assert client.post(reverse("accounts:delete"), {"address": "else@corp.example"}).status_code == 422
    client.post(reverse("accounts:delete"), {"address": "ADA@corp.example"})
    assert not User.objects.exists()


def test_the_admin_shows_who_comes_by_it_and_no_page_for_secrets(client, company, admin):
    come_back(Client())
    client.force_login(admin)
    assert "ada@corp.example" in client.get(reverse("admin:socialaccount_socialaccount_changelist")).content.decode()
    page = client.get(ADMIN).content.decode()
    assert "socialapp" not in page
    assert "socialtoken" not in page


def test_a_stranger_to_the_provider_signs_in_as_ever(client, company):
    make_user("owner@example.com")
    client.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    assert signed_in_as(client).email == "owner@example.com"

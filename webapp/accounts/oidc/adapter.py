"""Who gets in with the identity provider, with which account and which roles."""

from typing import Any

import structlog
from allauth.account.internal.emailkit import valid_email_or_none
from allauth.account.internal.userkit import filter_users_by_email
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.shortcuts import redirect

from webapp.accounts.models import User
from webapp.accounts.oidc.provider import PROVIDER
from webapp.accounts.services import take_roles
from webapp.audit.recording import Kind, record

log = structlog.get_logger(__name__)


class CompanyAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's sign-in with others' accounts under our rules."""

    def list_apps(self, _request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        """The one provider of the settings, or none; never one of the database."""
        oidc = settings.OIDC
        if not oidc or provider not in {None, "openid_connect", PROVIDER} or client_id not in {None, oidc["client_id"]}:
            return []
        return [
            SocialApp(
                provider="openid_connect",
                provider_id=PROVIDER,
                name=oidc["name"],
                client_id=oidc["client_id"],
                secret=oidc["client_secret"],
                settings={
                    "server_url": oidc["issuer"],
                    "oauth_pkce_enabled": True,
                    "fetch_userinfo": False,  # the signed token says it all
                    "verified_email": oidc["email_domains"],
                },
            )
        ]

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Sends back whom we cannot let in; gives people who have signed in so before the roles of their groups."""
        if sociallogin.is_existing:
            if sociallogin.state.get("process") != AuthProcess.CONNECT:
                self._take_roles(sociallogin, sociallogin.user)
            return
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            return
        name = settings.OIDC["name"]
        email = valid_email_or_none(sociallogin.user.email)  # nor one of a service account
        if email is None:
            self._send_back(request, f"Your {name} account has no e-mail address. Ask its administrators for one.")
        if filter_users_by_email(email):
            # Who may name any address over there must not get into the account that has it here.
            self._send_back(
                request,
                f"There is an account with the address of your {name} account already. Sign in to it as you always do, "
                f"then connect {name} on your account page.",
            )

    def _send_back(self, request: HttpRequest, why: str) -> None:
        record(Kind.SIGN_IN_FAILED, provider=PROVIDER)
        messages.error(request, why)
        raise ImmediateHttpResponse(redirect("account_login"))

    def is_open_for_signup(self, _request: HttpRequest, _sociallogin: SocialLogin) -> bool:
        return bool(settings.OIDC["sign_up"])

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        user: User = super().populate_user(request, sociallogin, data)
        user.name = str(data.get("name") or "")[:120]
        return user

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        user: User = super().save_user(request, sociallogin, form)
        self._take_roles(sociallogin, user)
        return user

    @staticmethod
    def _take_roles(sociallogin: SocialLogin, user: User) -> None:
        """Gives the person the roles of their groups and no other, where groups have roles at all."""
        if not settings.OIDC["roles"]:
            return
        claim = settings.OIDC["roles_claim"]
        groups = sociallogin.account.extra_data.get(claim)
        if groups is None:  # not asked for over there, or more than fit into a token
            log.warning("oidc_groups_missing", claim=claim, user_id=user.pk)
        named = groups if isinstance(groups, list) else []
        take_roles(user, {role for group, role in settings.OIDC["roles"].items() if group in named})

    def on_authentication_error(self, _request: HttpRequest, _provider: Any, error: Any = None, **about: Any) -> None:
        log.warning("oidc_failed", error=str(error), reason=str(about.get("exception") or ""))
        record(Kind.SIGN_IN_FAILED, provider=PROVIDER)

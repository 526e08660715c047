"""The provider as allauth wants it, and what we ask of its answers beyond allauth."""

from typing import Any

import jwt
import requests
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.urls import reverse

PROVIDER = "company"  # in addresses, and in the rows of those who sign in with it
CONFIGURATION_KEPT = 600  # seconds
# Of what the provider says about a person, all that is kept; and the claim that holds groups.
KEPT_CLAIMS = ("name", "email", "preferred_username")


class CompanyOAuth2Adapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth ships no types
    """The exchange with the provider. What it answers is believed only with its signature, wherever it came from."""

    @property
    def openid_config(self) -> dict[str, Any]:
        """The provider's own description. Raises OAuth2Error when it is away, or describes another one."""
        key = f"oidc-configuration:{settings.OIDC['issuer']}"
        if (known := cache.get(key)) is None:
            try:
                known = super().openid_config
            except requests.RequestException as error:
                raise OAuth2Error("The identity provider does not answer.") from error
            if str(known.get("issuer")).rstrip("/") != settings.OIDC["issuer"]:
                raise OAuth2Error("The identity provider says that it is another one than OIDC_ISSUER.")
            cache.set(key, known, CONFIGURATION_KEPT)
        return dict(known)

    def get_callback_url(self, _request: HttpRequest, _app: SocialApp) -> str:
        """Under the one public address, whatever Host header the request had."""
        return settings.PUBLIC_URL + reverse("openid_connect_callback", kwargs={"provider_id": self.provider_id})

    def get_access_token_data(self, *args: Any, **options: Any) -> dict[str, Any]:
        data: dict[str, Any] = super().get_access_token_data(*args, **options)
        self.did_fetch_access_token = False  # allauth would then do without the signature
        return data

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **options: Any) -> SocialLogin:
        if not options["response"].get("id_token"):
            raise OAuth2Error("The identity provider has sent no id_token.")
        try:
            return super().complete_login(request, app, token, **options)
        except (KeyError, TypeError, ValueError, jwt.PyJWTError) as error:
            raise OAuth2Error("The identity provider's id_token makes no sense.") from error


class CompanyProvider(OpenIDConnectProvider):  # type: ignore[misc]  # likewise
    oauth2_adapter_class = CompanyOAuth2Adapter

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        claims = data["id_token"]
        return {name: claims[name] for name in (*KEPT_CLAIMS, settings.OIDC["roles_claim"]) if name in claims}

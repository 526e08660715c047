from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailConfirmation
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

from webapp.accounts.models import SERVICE_DOMAIN


@dataclass(frozen=True)
class Site:
    """What e-mails call us."""

    name: str
    domain: str


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth under our name. E-mails and their links name PUBLIC_URL, whatever Host header the request had."""

    def clean_email(self, email: str) -> str:
        """The address as it is. Refuses those of service accounts: to sign up with, to add, to reset a password of."""
        if email.lower().endswith(f"@{SERVICE_DOMAIN}"):
            raise ValidationError("This is the name of a service account, which cannot sign in.")
        return str(super().clean_email(email))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Sends what the two templates of that prefix say. There need be no request: a worker sends mails, too."""
        site = Site("Scorepod", urlsplit(settings.PUBLIC_URL).netloc)
        known = {"email": email, **context, "current_site": site, "public_url": settings.PUBLIC_URL}
        self.render_mail(template_prefix, email, known).send()

    def get_email_confirmation_url(self, _request: HttpRequest, emailconfirmation: EmailConfirmation) -> str:
        return settings.PUBLIC_URL + reverse("account_confirm_email", args=[emailconfirmation.key])

    def get_reset_password_from_key_url(self, key: str) -> str:
        uid, _, token = key.partition("-")
        return settings.PUBLIC_URL + reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})

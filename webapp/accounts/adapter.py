from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailConfirmation
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from webapp.accounts import audited, guesses, roles
from webapp.accounts.models import SERVICE_DOMAIN, User
from webapp.audit.recording import Kind


@dataclass(frozen=True)
class Site:
    """What e-mails call us."""

    name: str
    domain: str


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth under our name. E-mails and their links name PUBLIC_URL, whatever Host header the request had."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": (
            "Too many failed sign-in attempts. Try again in some minutes, or set a new password by e-mail."
        ),
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        """Raises PermissionDenied where X-Forwarded-For has fewer addresses than there are proxies: past them."""
        try:
            return str(super().get_client_ip(request))
        except ImproperlyConfigured as error:
            raise PermissionDenied("This request has not come by the way that all take.") from error

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Counts the attempt before it is made; allauth gives it back when it succeeds. Too many are refused."""
        self._login_failed_rl_usage = guesses.consume(request, credentials.get("email", ""))
        if self._login_failed_rl_usage is None:
            audited.sign_in_failed(credentials.get("email", ""), Kind.SIGN_IN_HELD)
            raise self.validation_error("too_many_login_attempts")

    def authentication_failed(self, _request: HttpRequest, **credentials: Any) -> None:
        audited.sign_in_failed(credentials.get("email", ""))

    def post_login(self, request: HttpRequest, user: User, **options: Any) -> HttpResponse:
        answer: HttpResponse = super().post_login(request, user, **options)
        guesses.remember(answer, user)
        if roles.has_company_roles(user):  # they are looked at when the person signs in, so that has to be again
            request.session.set_expiry(settings.ADMIN_MFA_AGE)
        return answer

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

"""How often a password may be guessed, without anybody being able to lock somebody else out.

A failed attempt counts for its network, for the account as seen from that network, and for the account wherever it
comes from. A browser that the account knows is counted by itself: one in which the person has signed in before, or has
just set a password by a mailed link. So whoever guesses from everywhere keeps unknown browsers out of an account for a
while, and never the person's own.
"""

import secrets
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from allauth.account.signals import password_reset
from allauth.core.internal import ratelimit
from allauth.core.internal.ratelimit import RateLimitUsage
from django.conf import settings
from django.core import signing
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from webapp.accounts.models import User
from webapp.network import client_network

SALT = "browser-that-an-account-knows"
# In the session in which a password was set by a mailed link: the same as the cookie holds.
KNOWN_HERE = "known_browser"


@dataclass(frozen=True)
class Browser:
    """A browser that an account knows. number: under which its failed attempts are counted."""

    user_id: int
    number: str


def consume(request: HttpRequest, login: str) -> RateLimitUsage | None:
    """Counts an attempt to sign in as `login`; what can be given back when it succeeds. None: there were too many."""
    account = login.lower()
    if browser := _known(request, account):
        return _consume(request, "login_failed_known", f"{browser.user_id}:{browser.number}")
    here = _consume(request, "login_failed", f"{account}:{client_network(request)}")
    everywhere = here and _consume(request, "login_failed_everywhere", account)
    return RateLimitUsage([*here.usage, *everywhere.usage]) if here and everywhere else None


def _consume(request: HttpRequest, action: str, key: str) -> RateLimitUsage | None:
    return ratelimit.consume(request, app="allauth.account", action=action, key=key)


def _known(request: HttpRequest, account: str) -> Browser | None:
    """The browser, if the account with that address knows it."""
    try:
        held = signing.loads(
            request.COOKIES.get(settings.BROWSER_COOKIE_NAME, ""), salt=SALT, max_age=settings.BROWSER_COOKIE_AGE
        )
    except signing.BadSignature:
        held = None
    for each in filter(None, (held, request.session.get(KNOWN_HERE))):
        browser = Browser(*each)
        if EmailAddress.objects.filter(user_id=browser.user_id, email__iexact=account).exists():
            return browser
    return None


def remember(answer: HttpResponse, user: User) -> None:
    """Lets the browser that gets the answer be known to the account from now on."""
    answer.set_cookie(
        settings.BROWSER_COOKIE_NAME,
        signing.dumps([user.pk, secrets.token_hex(8)], salt=SALT),
        max_age=settings.BROWSER_COOKIE_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


@receiver(password_reset)
def remember_who_reads_the_mail(request: HttpRequest, user: User, **_signal: object) -> None:
    request.session[KNOWN_HERE] = [user.pk, secrets.token_hex(8)]

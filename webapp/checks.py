"""Settings that are each right and together wrong, told at the start with what to do about it."""

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

MIN_SECRET = 32  # characters


@register(Tags.security)
def secrets_are_long_and_different(**_options: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for number, name in enumerate(("SECRET_KEY", "API_KEY_HMAC_SECRET"), start=1):
        if len(getattr(settings, name)) < MIN_SECRET:
            command = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            hint = f"Give it {MIN_SECRET} random characters or more: {command}"
            found.append(Error(f"{name} is too short.", hint=hint, id=f"scorepod.E00{number}"))
    if settings.SECRET_KEY == settings.API_KEY_HMAC_SECRET:
        hint = "Give API_KEY_HMAC_SECRET its own value, so that SECRET_KEY can be changed without killing all API keys."
        found.append(Error("SECRET_KEY and API_KEY_HMAC_SECRET are the same.", hint=hint, id="scorepod.E003"))
    return found


@register(Tags.security)
def a_public_site_is_safe(**_options: Any) -> list[CheckMessage]:
    if not settings.HTTPS:
        return []
    found: list[CheckMessage] = []
    if settings.DEBUG:
        hint = "Unset DEBUG: it shows tracebacks and settings to every visitor."
        found.append(Error("DEBUG is on while PUBLIC_URL is https.", hint=hint, id="scorepod.E004"))
    if settings.EMAIL_ON_CONSOLE and settings.ACCOUNT_EMAIL_VERIFICATION == "mandatory":
        hint = "Set EMAIL_URL to your mail server, such as smtp+tls://user:password@mail.example.org:587."
        found.append(Error("Nobody can confirm an address: e-mail goes to the log.", hint=hint, id="scorepod.E005"))
    return found


@register(Tags.security, deploy=True)
def a_deployed_site_can_be_reached(**_options: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.HTTPS and not settings.TRUSTED_PROXY_COUNT:
        hint = (
            "Set TRUSTED_PROXY_COUNT=1 behind one load balancer that ends TLS; without it every request is redirected."
        )
        found.append(checks.Warning("PUBLIC_URL is https but no proxy is trusted.", hint=hint, id="scorepod.W001"))
    if settings.EMAIL_ON_CONSOLE:
        hint = "Set EMAIL_URL to your mail server; until then, links to reset a password appear in the log only."
        found.append(checks.Warning("E-mail goes to the log.", hint=hint, id="scorepod.W002"))
    return found

"""Secrets of endpoints at rest: we have to sign with them, so they are encrypted where API keys are hashed.

Fernet (AES-128-CBC with HMAC-SHA256) under keys derived by HKDF from WEBHOOK_KEYS: the first encrypts, each may
decrypt. Where that is not set, from API_KEY_HMAC_SECRET, which nobody changes lightly either.
"""

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"scorepod webhook secrets 1"  # sets these keys apart from all else that is derived from the same secret


class Unreadable(Exception):
    """What was sealed under a key that is no longer known."""


def seal(secret: str) -> str:
    return _box(_keys()).encrypt(secret.encode()).decode("ascii")


def unseal(sealed: str) -> str:
    """Raises Unreadable when none of the keys fits."""
    try:
        return _box(_keys()).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise Unreadable("sealed under a key that is not in WEBHOOK_KEYS") from error


def _keys() -> tuple[str, ...]:
    return tuple(settings.WEBHOOK_KEYS) or (settings.API_KEY_HMAC_SECRET,)


@cache
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in keys])


def _derived(key: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(key.encode())
    return base64.urlsafe_b64encode(derived)

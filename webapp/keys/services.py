"""Making, revoking and recognising API keys."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from webapp.accounts.models import User
from webapp.errors import InvalidInput
from webapp.keys.models import ApiKey, Scope, joined

log = structlog.get_logger(__name__)

PREFIX_LENGTH, SECRET_LENGTH = 8, 43  # 43 characters of 62 hold 256 bits
PREFIX_LETTERS = string.ascii_lowercase + string.digits
SECRET_LETTERS = string.ascii_letters + string.digits
KEY = re.compile(rf"sp_([a-z0-9]{{{PREFIX_LENGTH}}})_([A-Za-z0-9]{{{SECRET_LENGTH}}})", re.ASCII)
MAX_LIVE_KEYS = 50
USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class NewKey:
    """A key just made. `secret` is the whole key as the client sends it; nothing else knows it."""

    key: ApiKey
    secret: str

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def prefix(self) -> str:
        return self.key.prefix

    @property
    def scopes(self) -> list[str]:
        return self.key.scopes

    @property
    def expires_at(self) -> datetime | None:
        return self.key.expires_at


def create(owner: User, *, name: str, scopes: Collection[str], expires_at: datetime | None = None) -> NewKey:
    """Makes a key. Raises InvalidInput naming the field: name in use, no scope or an unknown one, past moment."""
    _require_known(scopes)
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput("Choose a moment in the future.", field="expires_at")
    if ApiKey.objects.filter(owner=owner, revoked_at=None).count() >= MAX_LIVE_KEYS:
        raise InvalidInput(f"You have {MAX_LIVE_KEYS} keys. Revoke one you no longer need.", field="name")
    prefix = "".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
    secret = "".join(secrets.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))
    key = ApiKey(owner=owner, name=name, prefix=prefix, digest=_digest(prefix, secret), scope=joined(scopes))
    key.expires_at = expires_at
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:
        if not ApiKey.objects.filter(owner=owner, name=name, revoked_at=None).exists():
            raise  # not the name: a prefix drawn twice, one in 10¹²
        raise InvalidInput("You already have a key of this name. Choose another.", field="name") from error
    log.info("api_key_created", prefix=prefix, scopes=key.scope, owner_id=owner.pk)
    return NewKey(key, f"{key.public_part}{secret}")


def _require_known(scopes: Collection[str]) -> None:
    if not scopes:
        raise InvalidInput("Choose at least one scope.", field="scopes")
    if unknown := set(scopes) - set(Scope.values):
        raise InvalidInput(f"There is no scope {', '.join(sorted(unknown))}.", field="scopes")


def revoke(key: ApiKey) -> bool:
    """Ends the key's life from the next request on. False when it was revoked before; that moment then stays."""
    now = timezone.now()
    revoked = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now) == 1
    if revoked:
        key.revoked_at = now
        log.info("api_key_revoked", prefix=key.prefix, owner_id=key.owner_id)
    return revoked


def recognise(text: str) -> ApiKey | None:
    """The live key that the text is, its owner loaded. None when it is unknown, wrong, revoked, expired or garbage.

    Whatever is wrong, one digest is made and compared, so that the time taken does not tell a known prefix.
    """
    match = KEY.fullmatch(text)
    prefix, secret = match.groups() if match else ("", "")
    key = ApiKey.objects.select_related("owner").filter(prefix=prefix).first()
    known = hmac.compare_digest(key.digest if key else "0" * 64, _digest(prefix, secret))
    if key is None or not known or not key.is_live or not key.owner.is_active:
        return None
    _note_use(key)
    return key


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    stale = now - USE_NOTED_EVERY
    if key.last_used_at is not None and key.last_used_at > stale:
        return
    try:
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=stale), pk=key.pk).update(last_used_at=now)
    except DatabaseError:
        log.warning("api_key_use_not_noted", prefix=key.prefix)  # a locked database must not cost the answer


def _digest(prefix: str, secret: str) -> str:
    """HMAC-SHA256 with the prefix, under a secret of its own: rotating SECRET_KEY kills no key."""
    message = f"{prefix}_{secret}".encode("ascii")
    return hmac.new(settings.API_KEY_HMAC_SECRET.encode(), message, hashlib.sha256).hexdigest()

"""Making, changing, rotating, revoking and recognising API keys."""

import hashlib
import hmac
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from webapp.accounts.models import User
from webapp.audit.recording import Kind, record
from webapp.errors import Conflict, InvalidInput, NotSignedIn
from webapp.keys import mails, tokens
from webapp.keys import networks as nets
from webapp.keys.models import ApiKey, KeySecret, Scope, joined
from webapp.keys.networks import Network
from webapp.keys.tokens import Token
from webapp.network import Address, network_of

log = structlog.get_logger(__name__)

MAX_LIVE_KEYS = 50
MAX_OLD_SECRETS = 3  # of one key, at the same time
USE_NOTED_EVERY = timedelta(minutes=1)
ENDED_SECRETS_KEPT = timedelta(days=30)  # so that the log can tell one that was rotated out from one never ours

MISTYPED = "This is no API key: it is mistyped, cut off, or not sent as `Authorization: Bearer sp_…`."
REFUSED = "This API key does not work here. It may be unknown, revoked, expired, or limited to other networks."


class BadKey(NotSignedIn):
    """A key that opens nothing. reason: for our log; from outside all but what is no key at all look the same."""

    def __init__(self, detail: str, reason: str, prefix: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.prefix = prefix


@dataclass(frozen=True)
class NewKey:
    """A key or secret just made. `secret` is the whole key as the client sends it; nothing else knows it."""

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

    @property
    def old_secret(self) -> KeySecret | None:
        """The one that was current before and still works, if there is one."""
        return KeySecret.objects.filter(key=self.key, ends_at__gt=timezone.now()).order_by("-created_at").first()


# A key's life ---------------------------------------------------------------------------------------------------------


def create(
    owner: User,
    *,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    networks: Collection[Network] = (),
    by: User | None = None,
) -> NewKey:
    """Makes a key. Raises InvalidInput naming the field: name in use, no scope or an unknown one, past moment.

    by: who does it, here and below; whoever looks after the key gets a mail about it. None: nobody is told.
    """
    _require_known(scopes)
    _require_future(expires_at)
    if ApiKey.objects.filter(owner=owner, revoked_at=None).count() >= MAX_LIVE_KEYS:
        raise InvalidInput(f"There are {MAX_LIVE_KEYS} keys already. Revoke one that is not needed.", field="name")
    key = ApiKey(owner=owner, name=name, prefix=tokens.new_prefix(), scope=joined(scopes), expires_at=expires_at)
    key.networks = nets.joined(networks)
    with _one_of_its_name(key):
        key.save(force_insert=True)
        token = _new_secret(key)
        if by is not None:
            mails.tell_later(key, mails.CREATED, by)
        record(Kind.KEY_CREATED, account=owner, by=by, about=key.prefix, scopes=key.scopes, networks=key.networks)
    log.info("api_key_created", prefix=key.prefix, scopes=key.scope, owner_id=owner.pk)
    return NewKey(key, str(token))


def change(key: ApiKey, *, name: str, networks: Collection[Network]) -> None:
    """Gives the key another name and other networks. Raises InvalidInput when another key of its owner is called so."""
    key.name, key.networks = name, nets.joined(networks)
    with _one_of_its_name(key):
        key.save(update_fields=["name", "networks"])
        record(Kind.KEY_CHANGED, account=key.owner, about=key.prefix, networks=key.networks)
    log.info("api_key_changed", prefix=key.prefix, networks=key.networks, owner_id=key.owner_id)


def rotate(
    key: ApiKey, *, seen: int | None, overlap: timedelta, expires_at: datetime | None, by: User | None = None
) -> NewKey:
    """Gives the key a new secret and moment of expiry; the one before works on for `overlap`.

    It never works longer than it would have done: a key that has expired is renewed without its old secret.
    seen: the id of the secret that whoever asks took for the current one. Raises Conflict when it is not any more, or
    when the key is revoked or has several old secrets already; InvalidInput for an expiry in the past.
    """
    _require_future(expires_at)
    with transaction.atomic():
        # Two at the same time: the second waits here, and then finds that it has seen an old state.
        locked = ApiKey.objects.select_for_update().get(pk=key.pk)
        now = timezone.now()
        if locked.revoked_at:
            raise Conflict(f"“{locked.name}” is revoked. Create a new key.")
        current = KeySecret.objects.filter(key=locked, ends_at=None).first()
        if current is None or current.pk != seen:
            raise Conflict(f"“{locked.name}” was given a new secret a moment ago. Rotate it again if that one is lost.")
        if KeySecret.objects.filter(key=locked, ends_at__gt=now).count() >= MAX_OLD_SECRETS:
            raise Conflict(f"{MAX_OLD_SECRETS} old secrets of “{locked.name}” still work. End them before the next.")
        ends_at = min(now + overlap, locked.expires_at or now + overlap)
        KeySecret.objects.filter(pk=current.pk).update(ends_at=max(ends_at, current.created_at))
        token = _new_secret(locked)
        if expires_at != locked.expires_at:
            ApiKey.objects.filter(pk=locked.pk).update(expires_at=expires_at, reminded_days=None)
        KeySecret.objects.filter(key=locked, ends_at__lte=now - ENDED_SECRETS_KEPT).delete()
        if by is not None:
            mails.tell_later(key, mails.ROTATED, by)
        record(Kind.KEY_ROTATED, account=key.owner, by=by, about=key.prefix, old_until=ends_at.isoformat())
    key.expires_at = expires_at
    log.info("api_key_rotated", prefix=key.prefix, old_until=ends_at.isoformat(), owner_id=key.owner_id)
    return NewKey(key, str(token))


def end_old_secrets(key: ApiKey) -> int:
    """Ends those that a rotation let work on, from the next request on. Returns how many there were."""
    now = timezone.now()
    count = KeySecret.objects.filter(key=key, ends_at__gt=now).update(ends_at=now)
    if count:
        record(Kind.KEY_OLD_SECRETS_ENDED, account=key.owner, about=key.prefix, count=count)
        log.info("api_key_old_secrets_ended", prefix=key.prefix, count=count, owner_id=key.owner_id)
    return count


def revoke(key: ApiKey, *, by: User | None = None) -> bool:
    """Ends the key's life from the next request on. False when it was revoked before; that moment then stays."""
    now = timezone.now()
    revoked = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now) == 1
    if revoked:
        key.revoked_at = now
        record(Kind.KEY_REVOKED, account=key.owner, by=by, about=key.prefix)
        log.info("api_key_revoked", prefix=key.prefix, owner_id=key.owner_id)
        if by is not None:
            mails.tell_later(key, mails.REVOKED, by)
    return revoked


def _require_known(scopes: Collection[str]) -> None:
    if not scopes:
        raise InvalidInput("Choose at least one scope.", field="scopes")
    if unknown := set(scopes) - set(Scope.values):
        raise InvalidInput(f"There is no scope {', '.join(sorted(unknown))}.", field="scopes")


def _require_future(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput("Choose a moment in the future.", field="expires_at")


@contextmanager
def _one_of_its_name(key: ApiKey) -> Iterator[None]:
    """A transaction in which the key is written. Raises InvalidInput when another one of its owner is called so."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        others = ApiKey.objects.filter(owner_id=key.owner_id, name=key.name, revoked_at=None).exclude(pk=key.pk)
        if not others.exists():
            raise  # not the name: a prefix drawn twice, one in 10¹²
        raise InvalidInput("There is a key of this name already. Choose another.", field="name") from error


def _new_secret(key: ApiKey) -> Token:
    token = tokens.new_token(key.prefix)
    KeySecret.objects.create(key=key, digest=_digest(token), ending=token.ending)
    return token


# Recognising one ------------------------------------------------------------------------------------------------------


def recognise(text: str, address: Address | None = None) -> ApiKey:
    """The live key that the text is, its owner loaded. address: where it comes from, as far as it is known.

    Raises BadKey. For whatever has the form of a key one digest is made and compared, so that the time taken does not
    tell a known prefix.
    """
    token = tokens.read(text)
    if token is None:
        raise BadKey(MISTYPED, "no key")
    digest = _digest(token)
    secrets = list(KeySecret.objects.select_related("key__owner").filter(key__prefix=token.prefix))
    same = [hmac.compare_digest(known, digest) for known in [each.digest for each in secrets] or ["0" * 64]]
    secret = next((each for each, is_it in zip(secrets, same, strict=False) if is_it), None)
    if secret is None:
        raise BadKey(REFUSED, "wrong secret" if secrets else "unknown", token.prefix)
    if reason := _why_not(secret, address):
        if reason == "network":
            _note_refusal(secret.key, address)
        raise BadKey(REFUSED, reason, token.prefix)
    _note_use(secret, address)
    return secret.key


def _why_not(secret: KeySecret, address: Address | None) -> str:
    """Why a key that is known opens nothing; empty when it does."""
    key = secret.key
    if not key.is_live:
        return key.state
    if secret.ends_at is not None and secret.ends_at <= timezone.now():
        return "rotated out"
    if not key.owner.is_active:
        return "owner not active"
    return "" if nets.allow(key.network_list, address) else "network"


def _note_use(secret: KeySecret, address: Address | None) -> None:
    """Notes when and from where the key was used, and when the secret; each at most once a minute."""
    now, key = timezone.now(), secret.key
    stale = now - USE_NOTED_EVERY
    old = Q(last_used_at=None) | Q(last_used_at__lte=stale)
    try:
        if _is_before(secret.last_used_at, stale):
            KeySecret.objects.filter(old, pk=secret.pk).update(last_used_at=now)
        if _is_before(key.last_used_at, stale):
            ApiKey.objects.filter(old, pk=key.pk).update(last_used_at=now, last_used_from=network_of(address))
    except DatabaseError:
        log.warning("api_key_use_not_noted", prefix=key.prefix)  # a locked database must not cost the answer


def _note_refusal(key: ApiKey, address: Address | None) -> None:
    """Notes for the key's owner that somebody has it elsewhere, at most once a minute."""
    now = timezone.now()
    stale = now - USE_NOTED_EVERY
    if not _is_before(key.refused_at, stale):
        return
    try:
        old = Q(refused_at=None) | Q(refused_at__lte=stale)
        ApiKey.objects.filter(old, pk=key.pk).update(refused_at=now, refused_from=network_of(address))
    except DatabaseError:
        log.warning("api_key_use_not_noted", prefix=key.prefix)


def _is_before(moment: datetime | None, then: datetime) -> bool:
    return moment is None or moment <= then


def _digest(token: Token) -> str:
    """HMAC-SHA256 with the prefix, under a secret of its own: rotating SECRET_KEY kills no key."""
    message = f"{token.prefix}_{token.secret}".encode("ascii")
    return hmac.new(settings.API_KEY_HMAC_SECRET.encode(), message, hashlib.sha256).hexdigest()

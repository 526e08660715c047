"""Creations that a client may send twice: with an Idempotency-Key the second gets the answer of the first.

What a call creates and the answer that is kept of it are committed together, under a token. So a call that is killed
has created nothing and is free again as soon as its lease ends; one that comes back late, when another has taken its
place, creates nothing either. Refusals and failures are not kept: nothing was created, and the call may be sent anew.

Kept answers can hold a secret that is shown once. They are sealed with a key that is made of the client's own
Idempotency-Key, of which we keep only an HMAC: neither the table nor the server alone can open them.
"""

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.http import HttpResponse, QueryDict
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from webapp.accounts.models import User
from webapp.errors import BadRequest, IdempotencyKeyReused, StillRunning
from webapp.keys.models import IdempotentCall

log = structlog.get_logger(__name__)

HEADER, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
LONGEST_KEY = 255  # characters
KEPT_FOR = timedelta(hours=24)
LEASE = timedelta(minutes=1)  # for what comes after the body has arrived
COME_BACK_AFTER = 1  # seconds
ATTEMPTS = 5  # to make a call that others make and free at the same time
KEPT_HEADERS = ("Location", "Preference-Applied")
# As the draft has it, a text in quotes; or without them, as most clients send it.
QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"')
PLAIN = re.compile(r"[\x21\x23-\x7e]+")


def key_in(request: Request) -> str | None:
    """The Idempotency-Key of the request, without its quotes; None where there is none. Raises BadRequest for others
    than 1 to 255 visible ASCII characters.
    """
    text = request.headers.get(HEADER)
    if text is None:
        return None
    quoted = QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not (quoted or PLAIN.fullmatch(text)) or len(key) > LONGEST_KEY:
        raise BadRequest(f"{HEADER} must have 1 to {LONGEST_KEY} visible ASCII characters, such as a random UUID.")
    return key


def once(
    key: str,
    owner: User,
    content: Iterable[Any],
    make: Callable[..., Response],
    request: Request,
    *args: Any,
    prepare: Callable[[], object],
    **kwargs: Any,
) -> HttpResponse:
    """What `make(request, …)` answers; when it has answered this call of the owner before, that answer again.

    content: what the request brings, as values of JSON; with the address it tells one call from another. prepare: is
    called before `make`, and not in its transaction. Raises IdempotencyKeyReused when the key has come with another
    request, StillRunning while that one is not answered.
    """
    call, is_ours = _begin(owner, key, _fingerprint(request, content))
    if not is_ours:
        return _replay(call, key)
    token = call.token
    try:
        prepare()
        with transaction.atomic():
            answer = make(request, *args, **kwargs)
            if answer.status_code < 400:
                _keep(call, key, answer)
    finally:
        with suppress(DatabaseError):  # away: the lease will end
            IdempotentCall.objects.filter(pk=call.pk, token=token, status=None).delete()
    return answer


def forget_old() -> int:
    """Deletes what is no longer kept; returns how many."""
    count, _ = IdempotentCall.objects.filter(created_at__lte=timezone.now() - KEPT_FOR).delete()
    return count


# The life of a call ---------------------------------------------------------------------------------------------------


def _begin(owner: User, key: str, fingerprint: str) -> tuple[IdempotentCall, bool]:
    """The call, and whether it is ours to run; else it has been answered."""
    digest = _hmac(owner, "digest", key).hex()
    for _ in range(ATTEMPTS):
        now = timezone.now()
        ours = {"token": uuid.uuid4(), "fingerprint": fingerprint, "created_at": now, "leased_until": now + LEASE}
        try:
            with transaction.atomic():
                return IdempotentCall.objects.create(owner=owner, digest=digest, **ours), True
        except IntegrityError:
            known = IdempotentCall.objects.filter(owner=owner, digest=digest)
        free = Q(created_at__lte=now - KEPT_FOR) | Q(status=None, leased_until__lte=now)
        taken = known.filter(free).update(**ours, status=None, answer="") == 1
        call = known.first()
        if call is None:
            continue  # freed since we tried to make it
        if taken and call.token == ours["token"]:
            return call, True
        if call.fingerprint != fingerprint:
            raise IdempotencyKeyReused(
                f"This {HEADER} was sent with another request within the last 24 hours. Make a new one for each thing "
                "that is to be created."
            )
        if call.status is None:
            break
        return call, False
    raise StillRunning("The first request with this Idempotency-Key is not answered yet.", retry_after=COME_BACK_AFTER)


def _keep(call: IdempotentCall, key: str, answer: Response) -> None:
    """Keeps the answer, in the transaction of what it has created."""
    told = {
        "body": JSONRenderer().render(answer.data).decode(),
        "headers": {name: answer[name] for name in KEPT_HEADERS if name in answer},
    }
    sealed = _cipher(call.owner, key).encrypt(json.dumps(told).encode()).decode()
    ours = IdempotentCall.objects.filter(pk=call.pk, token=call.token, status=None)
    if ours.update(status=answer.status_code, answer=sealed) != 1:
        log.warning("idempotent_call_overtaken", owner_id=call.owner_id)
        raise StillRunning(
            "Another request with this Idempotency-Key has overtaken this one.", retry_after=COME_BACK_AFTER
        )


def _replay(call: IdempotentCall, key: str) -> HttpResponse:
    told = json.loads(_cipher(call.owner, key).decrypt(call.answer))
    headers = {**told["headers"], REPLAYED: "true"}
    return HttpResponse(told["body"], "application/json", call.status, headers=headers)


def _cipher(owner: User, key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_hmac(owner, "answer", key)))


def _hmac(owner: User, purpose: str, key: str) -> bytes:
    message = f"idempotency {purpose} {owner.pk} {key}".encode()
    return hmac.digest(settings.API_KEY_HMAC_SECRET.encode(), message, "sha256")


# The same request -----------------------------------------------------------------------------------------------------


def _fingerprint(request: Request, content: Iterable[Any]) -> str:
    """SHA-256 of what is asked for: address and content, but neither the order of fields nor the form's boundary."""
    digest = hashlib.sha256()
    for part in ([request.method, request.get_full_path()], *content):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def content_of(request: Request) -> Iterator[Any]:
    """The body as values of JSON; a file stands as its name, size and digest."""
    data, files = request.data, request.FILES
    if not files and not isinstance(data, QueryDict):
        yield data
        return
    yield dict(request.POST.lists())
    for field, group in sorted(files.lists()):
        yield [[field, file.name, file.size, _digest_of(file)] for file in group]


def _digest_of(file: UploadedFile[Any]) -> str:
    """SHA-256 of the content, read piece by piece."""
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()

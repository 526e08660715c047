"""HTTP to the pods of one pool: connections, deadline, retries, and the translation of what goes wrong."""

import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2 as httpx
import msgspec
import structlog

from scoring_service.contract import (
    DEADLINE_HEADER,
    REQUEST_ID_HEADER,
    VERSION_HEADER,
    ContractError,
    ErrorBody,
    decode_json,
)
from webapp import metrics, tracing
from webapp.errors import ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable
from webapp.request_ids import current_request_id

log = structlog.get_logger(__name__)

CONNECT_WITHIN = 1.0  # seconds; a pod is in the same cluster
PAUSES = (0.0, 0.1, 0.3)  # seconds before each further attempt
# The same after a connection broke off: a pod that is killed takes new ones until all its memory is freed.
UNTIL_GONE = 0.2
# How much sooner the pod shall give up than we do, so that its own answer, which names the version, still arrives.
SOONER, SOONER_SHARE = 0.05, 0.1  # seconds and share of the time left, whichever is less
COME_BACK = 2.0  # seconds, where a pod that cannot answer does not say itself
MAX_COME_BACK = 300.0  # seconds
POOLED = httpx.Limits(max_connections=128, max_keepalive_connections=32, keepalive_expiry=60.0)
# The site sends one row at a time, so which input and row the pod means is no news to anybody.
ROW = re.compile(r"input '[^']*', row \d+: ")
UNPOOLED = httpx.Limits(max_connections=128, max_keepalive_connections=0)


def new_transport(limits: httpx.Limits) -> httpx.BaseTransport:
    """Where the network begins; what stands in for the pods in a test takes its place here."""
    return httpx.HTTPTransport(limits=limits, trust_env=False)


def resolve(host: str) -> list[str]:
    """The addresses that a host name stands for, sorted: behind a service without an address of its own, one a pod.

    IPv6 only where there is no IPv4, so that a pod with both counts once. Raises OSError when the name leads nowhere.
    """
    if host == "localhost":  # has both, and one pod
        return [host]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    short = {str(where[0]) for family, *_, where in found if family == socket.AF_INET}
    return sorted(short or {str(where[0]) for *_, where in found})


@dataclass(frozen=True)
class Call:
    """A request to a pod; path: from the root of the pod's address."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a pod answered, whole."""

    status: int
    headers: httpx.Headers
    content: bytes


class PodPool:
    """All pods behind one address. May be used by many threads at once.

    name: what people call the models it serves, for messages ("FAQ", "image").
    """

    def __init__(self, name: str, url: str, token: str) -> None:
        self.name = name
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pooled, self._unpooled = (
            httpx.Client(base_url=url, headers=headers, transport=new_transport(limits), trust_env=False)
            for limits in (POOLED, UNPOOLED)
        )

    def send(self, call: Call, *, timeout: float) -> Answer:
        """The answer with a 2xx status. timeout: seconds for all of it, the retry included. Raises ScoringError.

        Each piece of an answer is measured against the deadline, so a pod cannot stretch it by sending slowly; one that
        stops in the middle is given up when it has been silent for `timeout`.

        A transport that fails before there is an answer is tried again, each time on a connection of its own: scoring
        twice does no harm, and a kept connection may lead to a pod that has gone meanwhile. What breaks off after it
        was sent is sent only once more, for it may be what the pod died of. A pod that has no room or is not ready is
        left for another one, once.
        """
        deadline = time.monotonic() + timeout
        client, pauses, turned_away, broken_off = self._pooled, iter(PAUSES), False, 0
        while True:
            try:
                answer = self._send(client, call, deadline)
            except (httpx.ConnectTimeout, httpx.NetworkError, httpx.ProtocolError) as error:
                broken_off += not isinstance(error, httpx.ConnectTimeout | httpx.ConnectError)
                pause = next(pauses, None)
                if pause is not None and broken_off:
                    pause = max(pause, UNTIL_GONE)
                if pause is None or broken_off > 1 or time.monotonic() + pause >= deadline:
                    raise self._error_of_transport(error, call, timeout, broke_off=broken_off > 0) from error
                log.info("pod_connection_failed", pool=self.name, path=call.path, error=repr(error))
                metrics.pod_retries.labels(self.name, "connection").inc()
                time.sleep(pause)
            except httpx.TransportError as error:
                raise self._error_of_transport(error, call, timeout) from error
            else:
                if answer.status != 503 or turned_away:
                    break
                turned_away = True
                metrics.pod_retries.labels(self.name, "turned_away").inc()
            client = self._unpooled
        if not 200 <= answer.status < 300:
            said = _message_in(answer)
            error_told = self._error_of_answer(answer, said, call, timeout)
            error_told.said = said
            error_told.model_version = answer.headers.get(VERSION_HEADER, "")
            raise error_told
        return answer

    def close(self) -> None:
        """Closes all connections."""
        self._pooled.close()
        self._unpooled.close()

    def _send(self, client: httpx.Client, call: Call, deadline: float) -> Answer:
        left = deadline - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("no time left")
        for_pod = left - min(SOONER, left * SOONER_SHARE)
        headers = {**call.headers, DEADLINE_HEADER: str(max(1, int(for_pod * 1000)))}
        if request_id := current_request_id():
            headers[REQUEST_ID_HEADER] = request_id
        steps = httpx.Timeout(left, connect=min(left, CONNECT_WITHIN))
        with tracing.span(f"{self.name} pod", "CLIENT", {"url.path": call.path}) as span:
            headers |= tracing.headers()
            # httpx's own limits hold for each step on the network, not for their sum.
            with client.stream(call.method, call.path, content=call.content, headers=headers, timeout=steps) as answer:
                pieces = []
                for piece in answer.iter_bytes():
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("the answer came too slowly")
                    pieces.append(piece)
            span.note({"http.response.status_code": answer.status_code}, failed=answer.status_code >= 500)
        return Answer(answer.status_code, answer.headers, b"".join(pieces))

    def _error_of_transport(
        self, error: httpx.TransportError, call: Call, timeout: float, *, broke_off: bool = False
    ) -> ScoringError:
        log.warning("pod_unreachable", pool=self.name, path=call.path, error=repr(error))
        if isinstance(error, httpx.TimeoutException) and not isinstance(
            error, httpx.ConnectTimeout | httpx.PoolTimeout
        ):
            return self._too_slow(timeout)
        unavailable = ScoringUnavailable(
            f"The scoring service for {self.name} models cannot be reached. Try again in a few seconds.",
            retry_after=COME_BACK,
        )
        unavailable.broke_off = broke_off
        return unavailable

    def _error_of_answer(self, answer: Answer, said: str, call: Call, timeout: float) -> ScoringError:
        status = answer.status
        if status in {400, 413, 422}:
            return refused(ROW.sub("", said, count=1))
        log.warning("pod_answered_error", pool=self.name, path=call.path, status=status, error=said)
        if status == 504:
            return self._too_slow(timeout)
        if status == 404:
            return ScoringUnavailable(
                f"The {self.name} model asked for is not loaded. It may still be starting; try again in a moment.",
                retry_after=_come_back(answer),
            )
        if status in {429, 502, 503}:
            return ScoringUnavailable(
                f"The scoring service for {self.name} models is starting or has no room. Try again in a moment.",
                retry_after=_come_back(answer),
            )
        return ScoringError(
            f"The scoring service for {self.name} models answered with an error. Try again in a moment."
        )

    def _too_slow(self, timeout: float) -> ScoringTimeout:
        return ScoringTimeout(f"The {self.name} model gave no answer within {timeout:g} s. Try again in a moment.")


def refused(reason: str, version: str = "") -> ScoringRefused:
    """The error of an input that cannot be scored. reason: as the pod says it; version: which says so."""
    error = ScoringRefused(reason[:1].upper() + reason[1:] or "The model refused the input.")
    error.said, error.model_version = reason, version
    return error


@contextmanager
def readable(version: str = "") -> Iterator[None]:
    """An answer that is not what the protocol promises becomes a ScoringError. version: which has answered so."""
    try:
        yield
    except (ContractError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        unreadable = ScoringError("The scoring service sent an answer that cannot be read. Try again in a moment.")
        unreadable.model_version = version
        raise unreadable from error


def _message_in(answer: Answer) -> str:
    """The sentence in the pod's {"error": …}; empty when it sent something else."""
    try:
        return decode_json(answer.content, ErrorBody).error
    except ContractError:
        return ""


def _come_back(answer: Answer) -> float:
    """Seconds in Retry-After, within reason."""
    value = answer.headers.get("Retry-After", "")
    return min(float(value), MAX_COME_BACK) if value.isdecimal() else COME_BACK

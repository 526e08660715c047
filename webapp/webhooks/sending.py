"""One request to one endpoint: to a checked address only, within a time that nobody can stretch."""

import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpcore2 as httpcore

from webapp.webhooks.targets import Target

WITHIN = 15.0  # seconds for all of it, from the connection to the answer
CONNECT_WITHIN = 5.0  # seconds for one of the host's addresses
KEPT_BYTES = 1024  # of the answer's body
AGENT = "Scorepod-Webhooks/1"


class Unanswered(Exception):
    """There was no answer. The text says why, in a sentence for the owner."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint said. response: the first kilobyte of the body, as text. retry_after: its header, as it came."""

    status: int
    response: str
    retry_after: str


def post(target: Target, body: bytes, headers: Mapping[str, str], *, within: float) -> Answer:
    """Posts the JSON. Raises Unanswered. within: seconds for all of it.

    Redirects are answers like others; proxies that the environment names do not count.
    """
    network = _Pinned(target, time.monotonic() + within)
    where = httpcore.URL(
        scheme=b"https" if target.secure else b"http",
        host=target.host.encode("ascii"),
        port=target.port,
        target=target.path.encode("ascii"),
    )
    sent = {
        "Host": target.authority,
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "Accept-Encoding": "identity",  # what is kept of the answer is for people
        "Connection": "close",
        **headers,
    }
    steps = {"timeout": {"connect": CONNECT_WITHIN, "read": within, "write": within, "pool": within}}
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_trusted(), network_backend=network) as pool,
            pool.stream("POST", where, headers=list(sent.items()), content=body, extensions=steps) as answer,
        ):
            return Answer(answer.status, _text(_beginning(answer)), _header(answer, b"retry-after"))
    except httpcore.ConnectTimeout as error:
        raise Unanswered("No connection could be made in time.") from error
    except httpcore.TimeoutException as error:
        raise Unanswered(f"No answer within {within:g} s.") from error
    except httpcore.ConnectError as error:
        raise Unanswered(_why_not_connected(error)) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Unanswered("The connection broke off, or what came was not HTTP.") from error


def seconds_in(retry_after: str, now: float) -> float | None:
    """What a Retry-After header asks for, as seconds or as a date; None for what is neither. now: a Unix time."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    with suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    return None


def _beginning(answer: httpcore.Response) -> bytes:
    """The first kilobyte of the body. One that stays away or breaks off does not change what the status has said."""
    found = b""
    with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for piece in answer.iter_stream():
            found += piece
            if len(found) >= KEPT_BYTES:
                break
    return found[:KEPT_BYTES]


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL keeps no NUL


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1").strip() for key, value in answer.headers if key.lower() == name), "")


def _why_not_connected(error: httpcore.ConnectError) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The certificate is not valid: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError):
        return "No TLS connection could be made."
    if isinstance(cause, ConnectionRefusedError):
        return "The connection was refused."
    return "No connection could be made."


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificates, or those that SSL_CERT_FILE or SSL_CERT_DIR name. Read once: it takes its time."""
    return httpcore.default_ssl_context()


# The network ----------------------------------------------------------------------------------------------------------


class _Pinned(httpcore.NetworkBackend):
    """Connects to the target's checked addresses, whatever host it is asked for; all of it within the deadline."""

    def __init__(self, target: Target, deadline: float) -> None:
        self._target, self._deadline = target, deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._target.addresses:
            left = _left(self._deadline, httpcore.ConnectTimeout)
            try:
                stream = self._network.connect_tcp(
                    address, self._target.port, min(left, timeout or left), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Timed(stream, self._deadline)
        raise failure


class _Timed(httpcore.NetworkStream):
    """A stream all of whose steps together end at the deadline: each by itself would let an answer drip for ever."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, error: type[httpcore.TimeoutException]) -> float:
    """Seconds until the deadline; raises the error when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("no time left")
    return left

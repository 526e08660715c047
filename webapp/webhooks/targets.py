"""Where events may go: which addresses are somebody's on the internet, and which are ours to protect.

Whoever makes a webhook has us connect to a host of their choice. So its name is resolved once, every address that it
stands for must be public, and the connection then goes to one of those and nowhere else (`sending.py`).
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import NewType

import httpx2 as httpx
from django.conf import settings

from webapp.errors import InvalidInput, RateLimited
from webapp.webhooks.models import LONGEST_URL

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


# Of somebody's own machine or network: with WEBHOOK_ALLOW_PRIVATE events may go there.
PRIVATE = _networks(
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"
)
# Where clouds tell a machine its credentials: those that are not link-local anyway.
METADATA = _networks(
    "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"
)
# Not of one host on the internet, or of one that depends on where one asks. None of it takes part in what comes below.
NOBODYS = _networks(
    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    # Of IPv6: what carries an IPv4 address within (Teredo, 6to4), and addresses for documents.
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")  # all that is given out; so also none of NAT64 and the mapped addresses
LOOK_UP_WITHIN = 5.0  # seconds; the system's resolver may take far longer for a name whose servers let it wait
AT_ONCE = 4  # requests to this process that wait for it: whoever owns such a name must not have all its threads wait
AGAIN_AFTER = 5  # seconds
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)


class Refused(Exception):
    """The text says why events cannot go there, in a sentence for the owner."""


@dataclass(frozen=True)
class Target:
    """Where one request goes: to `path` at `host`, by connecting to one of `addresses`."""

    secure: bool
    host: str  # as it stands in certificates
    port: int
    path: str  # with the query
    addresses: Sequence[str]

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


Checked = NewType("Checked", str)  # an address that has been looked up, and may be kept


def checked(url: str) -> Checked:
    """Looks the address up. Raises InvalidInput, naming the field `url`, when events cannot go there, and RateLimited
    when too many are looked up already.

    That may take seconds: never call it in a transaction.
    """
    if not _waiting.acquire(blocking=False):
        raise RateLimited("Other addresses are being looked up. Try again in some seconds.", retry_after=AGAIN_AFTER)
    try:
        find(url.strip())
    except Refused as error:
        raise InvalidInput(str(error), field="url") from error
    finally:
        _waiting.release()
    return Checked(url.strip())


_waiting = BoundedSemaphore(AT_ONCE)


def find(url: str) -> Target:
    """Looks up where the address leads. Raises Refused."""
    parsed = _parsed(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    host = parsed.raw_host.decode("ascii")
    addresses = _resolve(host, port)
    # Neither which one it is, nor whether there is any: that would tell strangers how our network is built.
    if not addresses or not all(map(allowed, addresses)):
        raise Refused(f"{parsed.host} cannot be found, or does not lead to a public address.")
    return Target(parsed.scheme == "https", host, port, parsed.raw_path.decode("ascii"), addresses)


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise Refused("This is not an address. One reads https://example.com/hooks.") from error
    schemes = {"https", "http"} if settings.WEBHOOK_ALLOW_PRIVATE else {"https"}
    if parsed.scheme not in schemes:
        raise Refused("The address must begin with https://.")
    if parsed.userinfo:
        raise Refused("The address must not hold a name or password: each event is signed instead.")
    if not HOST.fullmatch(f"[{parsed.host}]" if ":" in parsed.host else parsed.raw_host.decode("ascii")):
        raise Refused("The address names no host. One reads https://example.com/hooks.")
    if parsed.fragment:
        raise Refused("Leave out what follows the #: it is never sent.")
    if parsed.port == 0:
        raise Refused("There is no port 0.")
    if len(url) > LONGEST_URL or len(parsed.raw_path) > LONGEST_URL:
        raise Refused(f"An address may have {LONGEST_URL} characters.")
    return parsed


def _resolve(host: str, port: int) -> list[str]:
    """The addresses that a name stands for, in the order in which to try them; none for one that is not found in time.

    The system's resolver cannot be told when to give up. So it is asked in a thread of its own, which is left behind.
    """
    answers: SimpleQueue[list[str]] = SimpleQueue()
    Thread(target=lambda: answers.put(_ask_resolver(host, port)), daemon=True).start()
    try:
        return answers.get(timeout=LOOK_UP_WITHIN)
    except Empty:
        return []


def _ask_resolver(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the second: of a name whose parts are too long
        return []
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


def allowed(text: str) -> bool:
    """Whether we may connect to the IP address."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:  # with a zone, as link-local ones have it
        return False
    if _within(address, METADATA):
        return False
    if _within(address, PRIVATE):
        return bool(settings.WEBHOOK_ALLOW_PRIVATE)
    if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_IPV6:
        return False
    return not _within(address, NOBODYS)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)

"""Where requests come from."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

Address = IPv4Address | IPv6Address


def client_address(request: HttpRequest) -> Address | None:
    """The address the request comes from; None when there is none that can be relied on (a local socket).

    X-Forwarded-For counts only behind TRUSTED_PROXY_COUNT proxies, and of it only what they have put there.
    """
    try:
        address = ipaddress.ip_address(str(get_adapter().get_client_ip(request)))
    except (PermissionDenied, ValueError):
        return None
    # A server that listens on `[::]` names IPv4 clients ::ffff:192.0.2.1; all of them would be one network.
    return getattr(address, "ipv4_mapped", None) or address


def client_network(request: HttpRequest) -> str:
    """The same for limits and logs: an IPv4 address, or the /64 network of an IPv6 address; "unknown" for none."""
    return network_of(client_address(request))


def network_of(address: Address | None) -> str:
    """What a client is taken for: who has an IPv6 address has the /64 network around it, too."""
    if isinstance(address, IPv6Address):
        return str(ipaddress.IPv6Network((int(address), 64), strict=False))  # int: without the name of an interface
    return str(address or "unknown")

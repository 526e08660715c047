import ipaddress

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


def client_network(request: HttpRequest) -> str:
    """Where the request comes from, for limits and logs: an IPv4 address, or the /64 network of an IPv6 address.

    X-Forwarded-For counts only behind TRUSTED_PROXY_COUNT proxies. "unknown" when there is no address (a local socket).
    """
    try:
        address = str(get_adapter().get_client_ip(request))
        parsed = ipaddress.ip_address(address)
    except (PermissionDenied, ValueError):
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return address

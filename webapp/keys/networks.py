"""Which networks a key may be used from."""

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from webapp.errors import InvalidInput
from webapp.network import Address

Network = IPv4Network | IPv6Network
MAX_NETWORKS = 20  # of one key; they fit into its field


def read(text: str) -> list[Network]:
    """The networks that a person has typed, each once; between them are blanks, commas or line ends.

    An address alone is the network that has only it.

    Raises InvalidInput that names the first that will not do, and how it should be.
    """
    networks = list(dict.fromkeys(map(_network, filter(None, re.split(r"[\s,;]+", text)))))
    if len(networks) > MAX_NETWORKS:
        raise InvalidInput(f"At most {MAX_NETWORKS} networks; these are {len(networks)}.", field="networks")
    return networks


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text.partition("%")[0], strict=False)  # the rest names an interface of theirs
    except ValueError:
        raise InvalidInput(
            f"“{text[:50]}” is no network. Write it as 192.0.2.0/24, 2001:db8::/32, or one address.", field="networks"
        ) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise InvalidInput(f"“{text[:50]}”: write the IPv4 address without ::ffff: before it.", field="networks")
    address = ipaddress.ip_address(re.split("[%/]", text)[0])
    if network.num_addresses > 1 and address != network.network_address:
        raise InvalidInput(
            f"“{text[:50]}” is an address within a network: write {network} for all of it, or {address} for the one.",
            field="networks",
        )
    return network


def joined(networks: Iterable[Network]) -> str:
    """Networks as the `networks` field keeps them; an address stands there without its /32 or /128."""
    return " ".join(str(each.network_address if each.num_addresses == 1 else each) for each in networks)


def allow(networks: Iterable[str], address: Address | None) -> bool:
    """Whether a request from the address is within one of them. None of them: from anywhere."""
    listed = [ipaddress.ip_network(each) for each in networks]
    return not listed or (address is not None and any(address in each for each in listed))

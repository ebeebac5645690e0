"""Which addresses a client's URL may lead to: those of the public internet, and networks that the operator names. Pure.

Source: the special-purpose registries of IANA (RFC 6890 and its updates), read in 2026. The lists stand here since
`ipaddress.is_global` changes with the version of Python.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC_4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # public by its number, but the host's own service on machines at Azure
    )
)  # fmt: skip
PUBLIC_6: Final = ipaddress.IPv6Network("2000::/3")
"""All that IANA has given out; loopback, link-local, unique local and multicast addresses lie outside."""
NOT_PUBLIC_6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # Teredo and 6to4 hide an IPv4 address
)
WRAPS_4: Final = tuple(ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96"))
"""IPv4 addresses in IPv6: mapped, and NAT64's, by which a network without IPv4 reaches the rest."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks as the settings name them. Raises: ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def may_be_reached(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an address is public, or in a network that is allowed."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if any(address in network for network in WRAPS_4):
            return may_be_reached(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF), allowed)
    return any(address in network for network in allowed) or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_4)
    return address in PUBLIC_6 and not any(address in network for network in NOT_PUBLIC_6)

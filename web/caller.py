"""Who makes the current request, as the doors have found out: `g.is_closed`, whether a key is needed, and `g.key`."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache

from flask import g, request

from web.keys import KeyRing


def owner() -> str:
    """Who makes the current request, as his jobs name him; empty where no key is needed."""
    return g.key.owner if g.get("key") else ""


def viewer() -> str | None:
    """Whose jobs alone the current request may see; None where it may see all: no key is needed, or an admin's was shown."""
    return None if not is_closed() or (g.get("key") and g.key.is_admin) else owner()


def is_closed() -> bool:
    """Whether a key is needed."""
    return bool(g.get("is_closed"))


def is_stranger() -> bool:
    """Whether the current request is answered without a key where one is needed."""
    return is_closed() and not g.get("key")


def counted_as() -> str:
    """What the current request is counted by: its key, else its address."""
    return g.key.fingerprint if g.get("key") else address()


def welcome(ring: KeyRing) -> Callable[[], bool]:
    """What tells, after the request was let in and for as long as its answer lasts, whether it would still be: the key may
    have been revoked meanwhile.
    """
    if key := g.get("key"):
        return lambda: ring.named(key.fingerprint) is not None
    return lambda: not ring.is_asked


def address() -> str:
    """Where the current request comes from; of IPv6 the network, since one client has all of its addresses."""
    return network(request.remote_addr or "local")


@lru_cache(1024)
def network(text: str) -> str:
    """What an address is counted as."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(found, ipaddress.IPv6Address) and not found.ipv4_mapped and not found.is_loopback:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)

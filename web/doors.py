"""Who may come in: keys where the server listens beyond this machine, no writes from other sites, and safe headers.

A page cannot send a header from `<video>` or EventSource, so a key can be exchanged for a cookie: web/sign_in.py.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from cachetools import LRUCache
from flask import Flask, Response, g, request, session
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from topclip.config import Settings
from topclip.errors import ConfigError, StorageUnavailable
from topclip.model.key import ApiKey
from web import sign_in
from web.caller import address, is_closed, owner
from web.keys import KeyRing
from web.rates import UNKNOWN_KEYS, WRONG_KEYS, Guesses

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_ENDPOINTS = ("static", "sign_in", "health.full", "health.live", "health.ready")
"""What strangers are answered; `/health` tells them little."""
METRICS_ENDPOINT = "health.metrics"
MAX_FAMILIAR = 10_000


def security_headers(settings: Settings) -> dict[str, str]:
    """Those of every answer. Pictures and clips may also come from where clients are sent for them."""
    elsewhere = settings.s3_public_endpoint.rstrip("/")
    media = f"'self' {elsewhere}".rstrip()
    return {
        "Content-Security-Policy": (
            f"default-src 'self'; img-src {media} data:; media-src {media}; object-src 'none'; base-uri 'none'; "
            "frame-ancestors 'none'; form-action 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def check_exposure(ring: KeyRing, hosts: Iterable[str]) -> None:
    """Refuse to listen beyond this machine where no key opens. Raises: ConfigError that says what to do.

    hosts: names or addresses that the server listens on. While the store is away nobody can tell: the doors are shut then, and
    open for this machine alone if there are no keys after all.
    """
    if not ring.is_known or not ring.is_empty:
        return
    for host in hosts:
        if not is_loopback(host):
            raise ConfigError(
                f"the server would listen on {host or 'all addresses'}, which others can reach, and there is no API key",
                {
                    "field": "host",
                    "hint": "make one with `topclip keys add NAME`, or set TOPCLIP_API_KEYS to long random keys; "
                    "or listen on this machine alone: TOPCLIP_HOST=127.0.0.1",
                },
            )


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def register(app: Flask, settings: Settings, ring: KeyRing) -> None:
    """Put the doors in."""
    if n := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n)  # type: ignore[method-assign]
    _Doors(ring, security_headers(settings)).register(app)


class _Doors:
    def __init__(self, ring: KeyRing, headers: dict[str, str]) -> None:
        self._ring, self._headers = ring, headers
        self._guesses, self._unknown = Guesses(WRONG_KEYS), Guesses(UNKNOWN_KEYS)
        self._familiar: LRUCache[tuple[str, str], bool] = LRUCache(MAX_FAMILIAR)
        """Addresses with the keys that were right there: others' guesses at the same address do not shut them out."""

    def register(self, app: Flask) -> None:
        app.before_request(self.refuse_other_sites)
        app.before_request(self.refuse_strangers)
        app.after_request(self.add_headers)
        sign_in.register(app, self._ring, self.try_key)

    def refuse_other_sites(self) -> None:
        """A write that a page of another site makes a browser send is refused."""
        if request.method in SAFE_METHODS:
            return
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        is_own = site in ("same-origin", "none") if site else origin is None or _place(origin) == request.host
        if not is_own:
            raise Forbidden("writes from pages of other sites are refused")

    def refuse_strangers(self) -> ResponseReturnValue | None:
        """Whoever has neither key nor cookie is asked for one; where there are no keys, only this machine is answered."""
        if self._ring.is_known and not self._ring.is_asked:
            self.refuse_other_machines()
            return None
        g.is_closed = True
        if not self._ring.is_known and request.endpoint in OPEN_ENDPOINTS:
            return None
        g.key = self._shown_key()
        if g.key and g.key.is_for_metrics and request.endpoint != METRICS_ENDPOINT:
            if request.endpoint not in OPEN_ENDPOINTS:
                raise Forbidden("this key opens /metrics and nothing else; `topclip keys add NAME` makes one for jobs")
            g.key = None
        if g.key or request.endpoint in OPEN_ENDPOINTS:
            return None
        self._ring.check_known()
        if request.path == "/" and request.method == "GET":
            return sign_in.page(), 401
        raise Unauthorized(
            "an API key is needed: send `Authorization: Bearer <key>`", www_authenticate=WWWAuthenticate("bearer")
        )

    def refuse_other_machines(self) -> None:
        """Without keys nobody else may come in, by whatever way: neither from another machine to a server that was bound
        to all addresses, nor by a page of another site whose name leads here.
        """
        if request.remote_addr and not is_loopback(_unmapped(request.remote_addr)):
            raise Forbidden("this server has no API keys and answers its own machine alone; `topclip keys add NAME`")
        name = re.sub(r":\d*$", "", request.host)
        if not is_loopback(name) and not name.endswith(".localhost"):
            raise Forbidden(f"{name} is no name of this machine alone; `topclip keys add NAME` to be reached by it")

    def _shown_key(self) -> ApiKey | None:
        """The key that the request bears, in a header or by the cookie that was given for it."""
        bearer = request.headers.get("Authorization", "")
        text = request.headers.get("X-API-Key") or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")
        if text:
            return self.try_key(text)
        g.by_cookie = True
        return self._ring.named(str(session.get("key", "")))

    def try_key(self, text: str) -> ApiKey | None:
        """The key that this is. Raises: RateLimited at an address that was wrong too often, unless it had this one right,
        StorageUnavailable.
        """
        where = address()
        try:
            key = self._ring.find(text)
        except StorageUnavailable:
            self._unknown.refuse_too_many(where)
            self._unknown.count(where)
            raise
        if key and (where, key.sha256) in self._familiar:
            return key
        self._guesses.refuse_too_many(where)
        self._unknown.refuse_too_many(where)
        if key:
            self._familiar[where, key.sha256] = True
        else:
            self._guesses.count(where)
        return key

    def add_headers(self, response: Response) -> Response:
        """Headers that every answer has; a view may have said stricter ones."""
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        if is_closed() and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"  # what one user may see is kept for no other
        return response


def _place(origin: str) -> str:
    """Host and port of an origin; nothing if it is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _unmapped(text: str) -> str:
    """An address without the clothes of IPv6 that a socket for both gives an IPv4 one."""
    return text.removeprefix("::ffff:")


__all__ = ["check_exposure", "is_loopback", "owner", "register"]

"""Who may come in: keys where the server listens beyond this machine, no writes from other sites, and safe headers.

A page cannot send a header from `<video>` or EventSource, so a key can be exchanged for a cookie at `/sign-in`.
"""

import hashlib
import hmac
import ipaddress
import re
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from topclip.config import Settings
from topclip.errors import ConfigError

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/sign-in", "/health/live", "/health/ready")
SIGN_IN_BYTES = 4096
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond this machine with the doors open. Raises: ConfigError that says what to set."""
    if settings.api_keys or is_loopback(settings.host):
        return
    raise ConfigError(
        f"TOPCLIP_HOST is {settings.host}, which others can reach, and there is no API key",
        {
            "field": "host",
            "hint": "set TOPCLIP_API_KEYS to one or more long random keys (python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'), or TOPCLIP_HOST to 127.0.0.1",
        },
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def register(app: Flask, settings: Settings) -> None:
    """Put the doors in."""
    if settings.api_keys:
        app.secret_key = hashlib.sha256("\n".join(("session", *settings.api_keys)).encode()).digest()
        app.config.update(SESSION_COOKIE_NAME="topclip", SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_HTTPONLY=True)
    _Doors(settings.api_keys).register(app)


class _Doors:
    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def register(self, app: Flask) -> None:
        app.before_request(self.refuse_other_sites)
        app.after_request(self.add_headers)
        if self._keys:
            app.before_request(self.refuse_strangers)
            app.add_url_rule("/sign-in", "sign_in", self.sign_in, methods=["POST"])
        else:
            app.before_request(self.refuse_other_names)

    def refuse_other_sites(self) -> None:
        """A write that a page of another site makes a browser send is refused."""
        if request.method in SAFE_METHODS:
            return
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        is_own = site in ("same-origin", "none") if site else origin is None or _place(origin) == request.host
        if not is_own:
            raise Forbidden("writes from pages of other sites are refused")

    def refuse_other_names(self) -> None:
        """Without keys only this machine's own names are answered: a page of another site may have its name lead here."""
        name = re.sub(r":\d*$", "", request.host)
        if not is_loopback(name) and not name.endswith(".localhost"):
            raise Forbidden(f"{name} is no name of this machine alone; set TOPCLIP_API_KEYS to be reached by it")

    def refuse_strangers(self) -> ResponseReturnValue | None:
        """Whoever has neither key nor cookie is asked for one."""
        if request.path in OPEN_PATHS or request.path.startswith("/static/") or self._is_known():
            return None
        if request.path == "/" and request.method == "GET":
            return sign_in_page(), 401
        raise Unauthorized(
            "an API key is needed: send `Authorization: Bearer <key>`", www_authenticate=WWWAuthenticate("bearer")
        )

    def _is_known(self) -> bool:
        bearer = request.headers.get("Authorization", "")
        key = request.headers.get("X-API-Key") or (bearer[7:] if bearer[:7].lower() == "bearer " else "")
        if key:
            return self._is_key(key)
        return session.get("key") in {_fingerprint(known) for known in self._keys}

    def _is_key(self, key: str) -> bool:
        """In the same time whatever the key."""
        found = [hmac.compare_digest(key.encode(), known) for known in self._keys]
        return any(found)

    def sign_in(self) -> ResponseReturnValue:
        """Exchange a key for a cookie. Anybody may ask, so little is read."""
        request.max_content_length = SIGN_IN_BYTES
        key = request.form.get("key", "").strip()
        if not self._is_key(key):
            return sign_in_page(is_wrong=True), 401
        session["key"] = _fingerprint(key.encode())
        return redirect("/", 303)

    def add_headers(self, response: Response) -> Response:
        """Headers that every answer has."""
        response.headers.extend(SECURITY_HEADERS)
        return response


def owner() -> str:
    """Who makes the current request: a name that stands for the key, empty where no key is needed."""
    return str(g.get("owner", ""))


def sign_in_page(*, is_wrong: bool = False) -> str:
    """The form that asks for a key."""
    return render_template("sign_in.html", is_wrong=is_wrong)


def _place(origin: str) -> str:
    """Host and port of an origin; nothing if it is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"fingerprint" + key).hexdigest()[:16]

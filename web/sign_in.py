"""The page's way in: a form exchanges a key for a cookie that no script can read, and a button takes it back.

The cookie is signed and names the key by its fingerprint, so that it is worth nothing once the key is revoked.
"""

from collections.abc import Callable
from datetime import timedelta

from flask import Flask, Request, redirect, render_template, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from itsdangerous import URLSafeTimedSerializer

from topclip.errors import RateLimited
from topclip.model.key import ApiKey
from web.intake import unbroken
from web.keys import KeyRing

COOKIE = "topclip"
LASTS = timedelta(days=7)
"""From sign-in, whatever was done in between."""
FORM_BYTES = 4096
TryKey = Callable[[str], ApiKey | None]
"""The key that a text is. Raises: RateLimited."""


def register(app: Flask, ring: KeyRing, try_key: TryKey) -> None:
    """Add `/sign-in` and `/sign-out`."""
    app.session_interface = _Cookies(ring)
    app.config.update(
        SESSION_COOKIE_NAME=COOKIE,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=LASTS,
    )

    def sign_in() -> ResponseReturnValue:
        if request.method != "POST":
            return page()
        ring.check_known()  # what signs the cookie lies in the store
        request.max_content_length = FORM_BYTES  # anybody may ask, so little is read
        try:
            with unbroken():
                told = request.form.get("key", "").strip()
            key = try_key(told)
        except RateLimited as err:
            return page(wrong=err.message), 429, {"Retry-After": str(err.detail["retry_after_s"])}
        if key is None:
            return page(wrong="That key is not known here."), 401
        if key.is_for_metrics:
            return page(wrong="That key opens /metrics and nothing else."), 403
        session.clear()
        session.permanent = True
        session["key"] = key.fingerprint
        return redirect("/", 303)

    def sign_out() -> ResponseReturnValue:
        session.clear()
        return redirect("/", 303)

    app.add_url_rule("/sign-in", "sign_in", sign_in, methods=["GET", "POST"])
    app.add_url_rule("/sign-out", "sign_out", sign_out, methods=["POST"])


def page(*, wrong: str = "") -> str:
    """The form that asks for a key; wrong: what was wrong with the last one."""
    return render_template("sign_in.html", wrong=wrong)


class _Cookies(SecureCookieSessionInterface):
    """Cookies that are signed with the ring's secret, and sent back by https alone if they were got by https."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """What the cookie says; most requests have none, and cost nothing."""
        return super().open_session(app, request) if COOKIE in request.cookies else self.session_class()

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """None before there is a key: nobody can sign in then."""
        app.secret_key = self._ring.cookie_secret
        return super().get_signing_serializer(app)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the request came by https, to us or to a proxy that is trusted."""
        return request.is_secure

"""A client's URL, read once: what is checked is what is connected to. Pure."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import httpx

from topclip.errors import UrlRefused
from topclip.outbound.address import Address

MAX_CHARS: Final = 4096
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
UNPRIVILEGED: Final = 1024
"""Below it only 80 and 443: what listens there speaks mail or another tongue that an HTTP request could be bent to."""
MAX_PORT: Final = 65_535
FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")
"""What parsers of URLs disagree about."""


@dataclass(frozen=True)
class Target:
    """An http(s) URL without name and password, its host in ASCII and without a dot at its end."""

    url: httpx.URL

    @property
    def host(self) -> str:
        """Name or address, an IPv6 address without its brackets."""
        return self.url.raw_host.decode("ascii").strip("[]")

    @property
    def port(self) -> int:
        """The port, given or the scheme's."""
        return DEFAULT_PORTS[self.url.scheme] if self.url.port is None else self.url.port

    @property
    def origin(self) -> str:
        """Scheme, host and port, fit for logs: paths and queries may hold secrets."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii')}"

    @property
    def name(self) -> str:
        """The last part of the path, for people; the host if there is none."""
        last = unquote(self.url.path.rstrip("/").rpartition("/")[2])
        return "".join(c for c in re.split(r"[/\\]", last)[-1] if c.isprintable())[:200] or self.host

    @property
    def literal(self) -> Address | None:
        """The address, where the host is one; `localhost` is one too."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return ipaddress.IPv4Address("127.0.0.1")
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def join(self, location: str) -> "Target":
        """Where a redirect leads. Raises: UrlRefused."""
        if FORBIDDEN.search(location):
            raise UrlRefused(f"{self.origin} redirects to what is no URL")
        try:
            return read_url(str(self.url.join(location)))
        except httpx.InvalidURL as err:
            raise UrlRefused(f"{self.origin} redirects to what is no URL: {err}") from err


def read_url(text: str) -> Target:
    """Raises: UrlRefused saying what is wrong."""
    if len(text) > MAX_CHARS or FORBIDDEN.search(text):
        raise UrlRefused(f"no URL: longer than {MAX_CHARS} characters, or with a space, backslash or control character")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as err:
        raise UrlRefused(f"no URL: {err}") from err
    if url.scheme not in DEFAULT_PORTS:
        raise UrlRefused(f"a URL's scheme is http or https, not {url.scheme or 'missing'}")
    if url.userinfo:
        raise UrlRefused("a URL with a name or a password is not taken")
    target = Target(url.copy_with(host=url.raw_host.decode("ascii").rstrip("."), fragment=None))
    _check_host(target.host)
    if target.port not in DEFAULT_PORTS.values() and not UNPRIVILEGED <= target.port <= MAX_PORT:
        raise UrlRefused(f"port {target.port} is not taken: 80, 443, or {UNPRIVILEGED} to {MAX_PORT}")
    return target


def _check_host(host: str) -> None:
    if not host:
        raise UrlRefused("the URL names no host")
    if "%" in host:
        raise UrlRefused("a host with a percent sign, such as an address with a zone, is not taken")
    if not _is_plain(host):
        raise UrlRefused(f"{host} is another way to write an address; write it as four decimal numbers")


def _is_plain(host: str) -> bool:
    """False for addresses such as 0x7f.1, 127.1 and 2130706433, which only some take for one."""
    try:
        packed = socket.inet_aton(host)
    except OSError:
        return True
    return host == socket.inet_ntoa(packed)

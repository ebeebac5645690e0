"""Redis' URL: what is wrong with one, in words that repeat no password, and how one is shown. Connects to nothing."""

from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

SCHEMES = ("redis", "rediss", "sentinel", "redis+socket")
CLUSTER_HINT = (
    "use one server (`cluster-enabled no`), or Sentinel for fail-over: `sentinel://host:26379;...`; see docs/redis.md"
)
QUERIES = {"redis+socket": "virtual_host", "rediss": "ssl_cert_reqs"}
"""What may follow a `?`: the number of a database, which has no place in a socket's path; and what holds anyway, since other
programs want it there."""


def checked_url(text: str) -> str:
    """A URL, or several of sentinels between semicolons, as all who connect understand it. Raises: ValueError."""
    urls = [_checked(url.strip()) for url in text.split(";")]
    if len(urls) > 1 and any(not url.startswith("sentinel://") for url in urls):
        raise ValueError("only sentinels can be several; in a password write %3B for ;")
    return ";".join(urls)


def _checked(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    scheme = scheme.lower() if mark else urlsplit(url).scheme
    if scheme not in SCHEMES:
        why = f"; Celery cannot use Redis Cluster: {CLUSTER_HINT}" if "cluster" in scheme else ""
        raise ValueError(f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}{why}")
    if not mark:
        raise ValueError(f"two slashes follow the scheme: {scheme}://host:port/number")
    url = f"{scheme}://{rest}"
    parts = urlsplit(url)
    if "password" in parse_qs(parts.query):  # Celery does not take it there, and it would not be masked
        raise ValueError("the password goes before the host: redis://default:password@host:6379/0")
    if not _is_whole(parts):
        raise ValueError("host or port cannot be read; in a password write %2F for /, %3F for ?, %23 for #, %3B for ;")
    if scheme != "redis+socket" and not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError("after the host comes the number of a database, or nothing: redis://host:6379/0")
    _check_query(parts)
    return url


def _check_query(parts: SplitResult) -> None:
    known = QUERIES.get(parts.scheme)
    asked = parse_qs(parts.query, keep_blank_values=True)
    if others := sorted(name for name in asked if name != known):
        raise ValueError(
            f"?{others[0]} is not taken there; timeouts are set by the programs, certificates by TOPCLIP_REDIS_CA"
        )
    if asked.get("ssl_cert_reqs", ["required"]) != ["required"]:
        raise ValueError(
            "certificates are always checked: leave ssl_cert_reqs out; TOPCLIP_REDIS_CA names your own CA's"
        )
    if not all(text.isdecimal() for text in asked.get("virtual_host", [])):
        raise ValueError("virtual_host is the number of a database")


def _is_whole(parts: SplitResult) -> bool:
    """Whether the address ends where it should, not at a character of an unquoted password."""
    try:
        parts.port  # noqa: B018 - it is read to be checked
    except ValueError:
        return False
    return parts.scheme == "redis+socket" or "@" not in parts.path + parts.query + parts.fragment


def masked_url(text: str) -> str:
    """The same with passwords replaced by `***`."""
    return ";".join(_masked(url) for url in text.split(";"))


def _masked(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    netloc = f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc))

"""A URL as a text: whether it is one, and what of it may be shown. Pure, and loads no HTTP client."""

import re
from typing import Final

URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(text: str) -> bool:
    """Whether a text begins as a URL does, of whatever scheme."""
    return URL.match(text) is not None


def shown(text: str) -> str:
    """A URL without its query, in which signatures and keys ride."""
    head, mark, _ = text.partition("?")
    return head + (mark and "?...")

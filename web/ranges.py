"""Byte ranges of RFC 9110, as players use them: one range or suffix, `If-Range`, 416; else the whole."""

import re

from flask import Response, request
from werkzeug.http import parse_range_header

from web.errors import problem

LAST_NOTHING = re.compile(r"^\s*bytes\s*=\s*-0+\s*$")


def asked_range(size: int, etag: str) -> tuple[int, int] | None:
    """The bytes [start, end) that the request wants of an object; None for all of it.

    Raises: LookupError if the range lies beyond the end.
    """
    text = request.headers.get("Range", "")
    if LAST_NOTHING.match(text):
        raise LookupError
    wanted = parse_range_header(text)
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    if not _is_still_same(etag):
        return None
    start, end = wanted.ranges[0]
    if start < 0:
        start, end = max(0, size + start), size
    end = size if end is None else min(end, size)
    if start >= size or start >= end:
        raise LookupError
    return start, end


def _is_still_same(etag: str) -> bool:
    """Whether `If-Range` allows a part; a date does not, since a clip has none."""
    condition = request.if_range
    if condition.date is not None:
        return False
    return condition.etag is None or condition.etag == etag


def unsatisfiable(size: int) -> Response:
    """The 416 that tells the object's size."""
    response = problem(416, "RANGE_NOT_SATISFIABLE", f"the file has {size} bytes")
    response.headers["Content-Range"] = f"bytes */{size}"
    return response

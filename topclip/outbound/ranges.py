"""Spans of bytes of what a URL leads to, by ranged GETs: each checked to be the span asked for, of the same content as the
first. What does not answer ranges is told apart, so that it can be fetched whole.
"""

import re
import time
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from topclip.errors import SourceChanged, SourceNotFound, SourceTooLarge, UnsupportedMedia, UrlRefused, UrlUnreachable
from topclip.outbound.http import Answer, Line, Outbound, Patience, Tick, no_tick
from topclip.outbound.url import Target, read_url

PATIENCE: Final = Patience(connect_s=10.0, idle_s=30.0, total_s=30.0, head_s=30.0)
"""Of one request; its body is given time by its length, at MIN_BYTES_PER_S."""
MIN_BYTES_PER_S: Final = 10_240
"""A server that is slower than this drips."""
TRIES: Final = 4
MOST_PIECES: Final = 64
"""That one span may come in."""
PAUSE_S: Final = 1.0
WORTH_ANOTHER_TRY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
ANY_LENGTH: Final = re.compile(r"bytes \d{1,18}-\d{1,18}/\*")
MAX_SIZE: Final = 1 << 42
"""No file system holds much longer files, not even such as are mostly holes."""


class WholeOnly(Exception):
    """Why a source cannot be read by spans, but must be fetched whole, such as that its server sends none."""


@dataclass(frozen=True)
class RangeLimits:
    """What may be read of one source, in bytes, and how long one request may take; pause_s: before the second try."""

    max_bytes: int
    patience: Patience = PATIENCE
    pause_s: float = PAUSE_S


@dataclass
class Ranges:
    """What one URL leads to, read by spans. Not safe to use from several threads at once.

    line: one of the outbound's own. tick(): called twice a second and more while waiting; what it raises ends the reading.
    """

    url: str
    outbound: Outbound
    line: Line
    limits: RangeLimits
    tick: Tick = no_tick
    size: int = field(default=0, init=False)
    """Of the whole, in bytes; 0 until the first span was read."""
    n_bytes: int = field(default=0, init=False)
    """Bytes of bodies that came, those of failed tries too."""
    n_requests: int = field(default=0, init=False)
    _at: Target | None = field(default=None, init=False)
    """Where redirects led the last time; None: they are followed anew."""
    _tag: str = field(default="", init=False)
    _date: str = field(default="", init=False)

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end), fewer only at the end of the whole.

        Raises: WholeOnly, of the first span only; SourceChanged, SourceNotFound, SourceTooLarge, UnsupportedMedia if there is
        nothing, UrlRefused, UrlUnreachable.
        """
        found = self._try(start, end)
        n_pieces = 1
        while len(found) < min(end, self.size) - start:  # a server may send less than it was asked for, and say so
            n_pieces += 1
            if n_pieces > MOST_PIECES:
                raise UrlUnreachable("the server sends the source in too small pieces")
            found += self._try(start + len(found), end)
        return found

    def _try(self, start: int, end: int) -> bytes:
        """The first of these bytes, as many as come at once."""
        n_tries = 1
        while True:
            try:
                return self._ask(start, end)
            except UrlUnreachable:
                if n_tries >= TRIES:
                    raise
                self._pause(self.limits.pause_s * 2 ** (n_tries - 1))
                n_tries += 1
            except SourceNotFound:
                if self._at is None:
                    raise
                self._at = None  # what a redirect led to may have been good for some minutes only

    def _ask(self, start: int, end: int) -> bytes:
        total_s = self.limits.patience.total_s + (end - start) / MIN_BYTES_PER_S
        patience = replace(self.limits.patience, total_s=total_s)
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
        if validator := self._tag if self._tag.startswith('"') else self._date:
            headers["If-Range"] = validator
        self.n_requests += 1
        target = self._at or read_url(self.url)
        with self.outbound.get(target, headers, patience, self.tick, self.line) as (answer, found):
            n = self._check(answer, start, end, found.origin)
            body = self._body(answer, n)
        self._at = found if found != read_url(self.url) else None
        return body

    def _check(self, answer: Answer, start: int, end: int, origin: str) -> int:
        """How many bytes follow. Remembers what the first answer tells of the whole."""
        is_first = not self.size
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            raise self._refusal(answer, origin)
        if coding := answer.header("content-encoding").replace("identity", ""):
            raise UrlRefused(f"the server sends the source encoded as {coding}", {"field": "source"})
        told = answer.header("content-range")
        if is_first and ANY_LENGTH.fullmatch(told):
            raise WholeOnly(f"{origin} does not tell how long the source is")
        match = CONTENT_RANGE.fullmatch(told)
        if match is None:
            raise UrlUnreachable(f"{origin} does not tell which part of the source it sends")
        first, last, size = (int(text) for text in match.groups())
        if not is_first and (size, self._tag) != (self.size, answer.header("etag")):
            raise _changed()
        date = answer.header("last-modified")
        if not is_first and not self._tag and self._date and date and date != self._date:
            raise _changed()
        if size > MAX_SIZE:
            raise SourceTooLarge(f"{origin} says that the source has {size} bytes", {"field": "source"})
        if first != start or not first <= last < min(end, size):
            raise UrlUnreachable(f"{origin} sends another part of the source than the one asked for")
        if is_first:
            self.size, self._tag, self._date = size, answer.header("etag"), date
        return last + 1 - first

    def _refusal(self, answer: Answer, origin: str) -> Exception:
        """What an answer means that is no part."""
        status = answer.status
        if status in (HTTPStatus.OK, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            if self.size:
                return _changed()
            if answer.header("content-length" if status == HTTPStatus.OK else "content-range") in ("0", "bytes */0"):
                return UnsupportedMedia("what the URL leads to is empty", {"field": "source"})
            return WholeOnly(f"{origin} sends no ranges")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in WORTH_ANOTHER_TRY:
            return UrlUnreachable(f"{origin} answers {status}")
        hint = "is the URL right, and may anybody read it?"
        return SourceNotFound(f"{origin} answers {status} for the source", {"field": "source", "hint": hint})

    def _body(self, answer: Answer, n: int) -> bytes:
        if self.n_bytes + n > self.limits.max_bytes:
            raise SourceTooLarge(
                f"more than {self.limits.max_bytes >> 20} MiB of the source would have to be read",
                {"field": "source", "hint": "TOPCLIP_MAX_UPLOAD_MB can be raised"},
            )
        body = bytearray()
        for block in answer.blocks():
            body += block
            self.n_bytes += len(block)
            if len(body) > n:
                raise UrlUnreachable("the server sends more than it was asked for")
        if len(body) < n:
            raise UrlUnreachable("the server sends less than it says")
        return bytes(body)

    def _pause(self, s: float) -> None:
        end = time.monotonic() + s
        while (left_s := end - time.monotonic()) > 0:
            self.tick()
            time.sleep(min(0.5, left_s))


def _changed() -> SourceChanged:
    hint = "try again: it is read anew from its beginning"
    return SourceChanged("the source changed on its server while it was read", {"field": "source", "hint": hint})


__all__ = ["RangeLimits", "Ranges", "WholeOnly"]

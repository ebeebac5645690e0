"""Stage probe, before it looks: bring a source that lies on another server into the store."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import IO, Final
from uuid import uuid4

from topclip.errors import SourceNotFound, SourceTooLarge, UnsupportedMedia, UrlRefused, UrlUnreachable
from topclip.model.request import UrlSource
from topclip.outbound.http import Answer, Outbound, Patience
from topclip.outbound.url import read_url
from topclip.pipeline.context import StageContext
from topclip.storage.base import FULL, ArtifactStore, no_room

Report = Callable[[int, int | None], None]
"""report(done_bytes, total_bytes): called twice a second or more; raises JobStopped."""

PATIENCE: Final = Patience(connect_s=10.0, idle_s=30.0, total_s=4 * 3600.0, head_s=30.0)
SLOW_S: Final = 60.0
MIN_BYTES_PER_S: Final = 10_240
"""Less than that over SLOW_S is as good as silence: a server that drips would hold a worker's slot for hours."""
TRIES: Final = 4
"""Connections in a row that may break before more has come at that pace; what can be resumed goes on where it broke."""
PAUSE_S: Final = 1.0
WORTH_ANOTHER_TRY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
LOOK_BYTES: Final = 64 << 20
"""The store's room is looked at every so much: no length may have been announced, and others write too."""


@dataclass(frozen=True)
class FetchLimits:
    """What a fetch may take, and how much room in the store, in bytes, it leaves."""

    max_bytes: int
    patience: Patience = PATIENCE
    slow_s: float = SLOW_S
    min_free_bytes: int = 0


def fetch_source(
    source: UrlSource, ctx: StageContext, outbound: Outbound, *, limits: FetchLimits, report: Report
) -> None:
    """Put the source into the store, unless it is there. Nothing half-made stays behind.

    Raises: UrlRefused, UrlUnreachable, SourceNotFound, SourceTooLarge, UnsupportedMedia, StorageError, JobStopped.
    """
    if ctx.store.exists(source.key):
        return
    path = ctx.store.staging() / f"{ctx.job_id}-source-{uuid4().hex}"
    try:
        with _room(), path.open("wb") as file:
            _Fetch(source.url, file, outbound, limits, report, ctx.store).run()
        size = path.stat().st_size
        ctx.store.put_file(source.key, path, lambda: report(size, size))
    finally:
        path.unlink(missing_ok=True)


@dataclass
class _Fetch:
    """One source on its way into a file."""

    url: str
    file: IO[bytes]
    outbound: Outbound
    limits: FetchLimits
    report: Report
    store: ArtifactStore
    done: int = 0
    total: int | None = None
    tag: str = field(default="", init=False)
    """The strong ETag of what is being fetched, by which it can be resumed; empty if there is none."""
    _look_at: int = field(default=LOOK_BYTES, init=False)
    """The byte at which the store's room is looked at again."""
    _pace: tuple[float, int] | None = field(default=None, init=False)
    """When the pace was last looked at, and what had come by then; None until a body begins."""

    def run(self) -> None:
        n_broken, end = 0, time.monotonic() + self.limits.patience.total_s
        since, before = time.monotonic(), self.done
        while True:
            try:
                self._receive(end)
                break
            except UrlUnreachable:
                n_broken = n_broken + 1 if self._is_slow(since, before) else 1
                if not self.tag or n_broken >= TRIES:
                    raise
                since, before = time.monotonic(), self.done  # with the pause: a byte for each connection is no pace
                self._pause(PAUSE_S * 2 ** (n_broken - 1))
        if not self.done:
            raise UnsupportedMedia("what the URL leads to is empty", {"field": "source"})

    def _receive(self, end: float) -> None:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise UrlRefused("the source did not come to its end in time", {"field": "source"})
        patience, self._pace = replace(self.limits.patience, total_s=left_s), None
        with self.outbound.get(read_url(self.url), self._headers(), patience, self._tick) as (answer, target):
            _check_status(answer, target.origin)
            self._begin(answer)
            self._pace = (time.monotonic(), self.done)
            for block in answer.blocks():
                self._write(block)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self.done and self.tag:
            headers |= {"Range": f"bytes={self.done}-", "If-Range": self.tag}
        return headers

    def _begin(self, answer: Answer) -> None:
        """Go on where it broke, or anew if the server does not, or has something else by now."""
        if coding := answer.header("content-encoding").replace("identity", ""):
            raise UrlRefused(f"the server sends the source encoded as {coding}", {"field": "source"})
        length = answer.header("content-length")
        is_rest = answer.status == HTTPStatus.PARTIAL_CONTENT
        if is_rest and not answer.header("content-range").startswith(f"bytes {self.done}-"):
            self.tag = ""
            raise UrlUnreachable("the server sent another part of the source than the one asked for")
        if not is_rest:
            self.file.seek(0)
            self.file.truncate()
            self.done = 0
        self.total = self.done + int(length) if length.isascii() and length.isdecimal() else None
        self.tag = _strong_tag(answer)
        self._check_size(self.total or 0)
        self._check_room((self.total or 0) - self.done)

    def _write(self, block: bytes) -> None:
        self._check_size(self.done + len(block))
        self.file.write(block)
        self.done += len(block)
        if self.done >= self._look_at:
            self._check_room(0)
        self._tick()

    def _check_pace(self) -> None:
        """Also while nothing comes but what is no body, such as the sizes of chunks."""
        if self._pace is None or time.monotonic() - self._pace[0] < self.limits.slow_s:
            return
        if self._is_slow(*self._pace):
            raise UrlUnreachable(f"the source comes in less than {MIN_BYTES_PER_S} bytes a second")
        self._pace = (time.monotonic(), self.done)

    def _is_slow(self, since: float, before: int) -> bool:
        """Whether less came than should have since that moment, when there were `before` bytes."""
        return self.done - before < MIN_BYTES_PER_S * (time.monotonic() - since)

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self.limits.max_bytes:
            raise SourceTooLarge(
                f"the source is larger than {self.limits.max_bytes >> 20} MiB",
                {"field": "source", "hint": "the operator can raise TOPCLIP_MAX_UPLOAD_MB"},
            )

    def _check_room(self, n_bytes: int) -> None:
        """Whether the store has room for so much more. Raises: StorageFull, StorageUnavailable."""
        free = self.store.free_bytes()
        if free is not None and free - n_bytes < self.limits.min_free_bytes:
            raise no_room("source")
        self._look_at = self.done + LOOK_BYTES

    def _tick(self) -> None:
        self.report(self.done, self.total)
        self._check_pace()

    def _pause(self, s: float) -> None:
        end = time.monotonic() + s
        while (left_s := end - time.monotonic()) > 0:
            self._tick()
            time.sleep(min(0.5, left_s))


def _check_status(answer: Answer, origin: str) -> None:
    status = answer.status
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in WORTH_ANOTHER_TRY:
        raise UrlUnreachable(f"{origin} answers {status}")
    hint = "is the URL right, and may anybody read it?"
    raise SourceNotFound(f"{origin} answers {status} for the source", {"field": "source", "hint": hint})


def _strong_tag(answer: Answer) -> str:
    tag = answer.header("etag")
    return tag if tag.startswith('"') and answer.header("accept-ranges") != "none" else ""


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """A full disk becomes ours."""
    try:
        yield
    except OSError as err:
        if err.errno in FULL:
            raise no_room("source") from err
        raise


__all__ = ["FetchLimits", "fetch_source"]

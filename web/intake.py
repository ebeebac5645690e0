"""What a submit brings: options, and a source that is streamed to the store's own disk or lies in the media folder.

Nothing is held in memory, and nothing stays behind unless the caller publishes it. Knows HTTP bodies, not jobs.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from topclip.config import Settings
from topclip.errors import InvalidRequest, RequestError, SourceNotFound, SourceTooLarge
from topclip.model.request import ClipOptions, MediaPath
from topclip.outbound.http import Outbound
from topclip.storage.base import BROKEN_DISK, FULL, no_room, storage_error
from topclip.text_files import MAX_BYTES
from web.schemas import read_options

BLOCK_BYTES = 256 * 1024
MAX_TEXT_BYTES = 256 * 1024
MAX_HEAD_BYTES = 1024 * 1024
MAX_ATTACHED_BYTES = MAX_BYTES
MAX_PARTS = 16
ATTACHED = ("subtitles", "audience")
"""Files that may come with a source."""
PARTS = ("file", "options", *ATTACHED)
SYNC_BYTES = 64 * 1024 * 1024
"""So much is pushed to disk at once, while the client still sends: the rest at the end is little, and the answer quick."""
STAGED = "upload-"
HARMLESS_SUFFIX = re.compile(r"^\.[a-z0-9]{1,8}$")
Check = Callable[[ClipOptions], None]


class Attached(NamedTuple):
    """A file that came with a source: its name and what is in it."""

    name: str
    content: bytes


@dataclass
class Form:
    """What a multipart submit holds."""

    options: ClipOptions | None = None
    file: Path | None = None
    name: str = ""
    size_bytes: int = 0
    sha256: str = ""
    attached: dict[str, Attached] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """On what terms an upload is taken.

    refuse_low(n) raises StorageFull where the store has no room for n bytes more; it is asked every SYNC_BYTES, since no length
    may have been announced, and others send too. is_hashed: whether the file's hash is wanted.
    """

    max_bytes: int
    refuse_low: Callable[[int], None]
    is_hashed: bool = False


@contextlib.contextmanager
def staged(staging: Path) -> Iterator[Path]:
    """A name for a new file in the staging folder; what is there at the end is removed."""
    path = staging / f"{STAGED}{uuid4().hex}"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # of a disk that takes no more; what stays is swept later
            path.unlink(missing_ok=True)


def read_text(body: IO[bytes]) -> bytes:
    """A whole small body. Raises: RequestError if it is too long or breaks off."""
    with unbroken():
        text = body.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise RequestError("the body is too long")
    return text


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """What goes wrong on the way from the client is its own, unlike what the disk says: a cut line, malformed chunks."""
    try:
        yield
    except (ParseException, OSError) as err:
        reason = str(err) or type(err).__name__
        raise RequestError(f"the body breaks off: {reason}", {"hint": "send it again, whole"}) from err


def read_form(body: IO[bytes], boundary: str, path: Path, terms: Terms, check: Check) -> Form:
    """Read a multipart body, the part `file` into `path`, `options` as JSON text and what comes with it, in any order.

    Options that come first are checked before the file is read, by `check` too.
    Raises: what `check` does, RequestError for a malformed body, InvalidRequest, SourceTooLarge, StorageError.
    """
    form = Form()
    try:
        with path.open("wb") as file:
            _Reader(form, file, path, terms, check).read(body, boundary)
    except OSError as err:
        if err.errno in FULL:
            raise no_room("file") from err
        if err.errno in BROKEN_DISK:
            raise storage_error("the upload", err) from err
        raise
    if form.file is None:
        raise InvalidRequest("the part `file` is missing", {"field": "file", "hint": "send the video as `file`"})
    if form.size_bytes == 0:
        raise InvalidRequest("the file is empty", {"field": "file"})
    for name, attached in form.attached.items():
        if not attached.content:
            raise InvalidRequest(f"the file `{name}` is empty", {"field": name})
    return form


class _Reader:
    """One multipart body on its way into a form."""

    def __init__(self, form: Form, file: IO[bytes], path: Path, terms: Terms, check: Check) -> None:
        self._form = form
        self._file = file
        self._path = path
        self._terms = terms
        self._hash = hashlib.sha256() if terms.is_hashed else None
        self._check = check
        self._part = ""
        self._text = bytearray()
        self._unsynced_bytes = 0

    def read(self, body: IO[bytes], boundary: str) -> None:
        decoder = MultipartDecoder(boundary.encode("latin-1", "replace"), MAX_HEAD_BYTES, max_parts=MAX_PARTS)
        try:
            while block := self._next(body):
                decoder.receive_data(block)
                self._take_all(decoder)
            decoder.receive_data(None)
            self._take_all(decoder)
        except ValueError as err:
            raise RequestError(f"the body is no multipart form: {err}") from err
        except RequestEntityTooLarge as err:
            raise RequestError("a part's head is too long, or there are too many parts") from err
        self._form.sha256 = self._hash.hexdigest() if self._hash else ""

    @staticmethod
    def _next(body: IO[bytes]) -> bytes:
        with unbroken():
            return body.read(BLOCK_BYTES)

    def _take_all(self, decoder: MultipartDecoder) -> None:
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Field | File):
            self._begin(event)
        elif isinstance(event, Data):
            if self._part == "file":
                self._write(event.data)
            else:
                self._collect(event.data, is_end=not event.more_data)

    def _begin(self, event: Field | File) -> None:
        name = self._part = event.name
        self._text.clear()
        if name not in PARTS:
            hint = f"the parts are {', '.join(f'`{part}`' for part in PARTS)}"
            raise InvalidRequest(f"no such part: {name!r}", {"field": name, "hint": hint})
        if name in self._form.attached or (name not in ATTACHED and getattr(self._form, name) is not None):
            raise InvalidRequest(f"more than one part `{name}`", {"field": name})
        if name == "file":
            self._form.file = self._path
            self._form.name = base_name(event.filename) if isinstance(event, File) else ""
        if name in ATTACHED:
            self._form.attached[name] = Attached(base_name(event.filename) if isinstance(event, File) else "", b"")

    def _write(self, data: bytes) -> None:
        self._form.size_bytes += len(data)
        if self._form.size_bytes > self._terms.max_bytes:
            raise too_large(self._terms.max_bytes)
        self._file.write(data)
        if self._hash:
            self._hash.update(data)
        self._unsynced_bytes += len(data)
        if self._unsynced_bytes >= SYNC_BYTES:
            self._unsynced_bytes = 0
            os.fdatasync(self._file.fileno())
            self._terms.refuse_low(0)

    def _collect(self, data: bytes, *, is_end: bool) -> None:
        self._text += data
        if self._part in ATTACHED:
            if len(self._text) > MAX_ATTACHED_BYTES:
                raise too_long(self._part)
            if is_end:
                self._form.attached[self._part] = self._form.attached[self._part]._replace(content=bytes(self._text))
            return
        if len(self._text) > MAX_TEXT_BYTES:
            raise InvalidRequest("options are too long", {"field": "options"})
        if is_end:
            self._form.options = read_options(bytes(self._text)) if self._text.strip() else ClipOptions()
            self._check(self._form.options)


def too_long(name: str) -> InvalidRequest:
    """The error of a file over the limit that comes with a source. name: of its part or field."""
    hint = "no video has so much text: is it the right file?"
    what = f"the file `{name}` is larger than {MAX_ATTACHED_BYTES >> 20} MiB"
    return InvalidRequest(what, {"field": name, "hint": hint})


def too_large(max_bytes: int) -> SourceTooLarge:
    """The error of an upload over the limit."""
    return SourceTooLarge(
        f"the upload is larger than {max_bytes >> 20} MiB",
        {"field": "file", "hint": "the operator can raise TOPCLIP_MAX_UPLOAD_MB"},
    )


def base_name(name: str) -> str:
    """The last part of a file name that a client sent, fit to be shown: no folders, nothing that does not print."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable())[:200]


def suffix_of(name: str) -> str:
    """A file name's suffix if it is harmless, else nothing."""
    suffix = Path(name).suffix.lower()
    return suffix if HARMLESS_SUFFIX.match(suffix) else ""


def check_callback(options: ClipOptions, settings: Settings, outbound: Outbound) -> None:
    """Refuse a callback that could not be signed or leads where none may. Raises: InvalidRequest."""
    if options.callback_url is None:
        return
    if not settings.webhook_secret:
        hint = "the operator has to set TOPCLIP_WEBHOOK_SECRET, with which callbacks are signed"
        raise InvalidRequest("this server sends no callbacks", {"field": "callback_url", "hint": hint})
    outbound.check(options.callback_url, "callback_url")


def find_in_library(name: str, media_root: Path | None, field: str = "source") -> MediaPath:
    """The named file of the media folder, links resolved. field: what named it.

    Raises: InvalidRequest if it lies outside or there is no such folder, SourceNotFound.
    """
    if media_root is None:
        hint = "set TOPCLIP_MEDIA_ROOT to the folder that holds the videos, or upload the file"
        raise InvalidRequest("this server has no media folder", {"field": field, "hint": hint})
    root = media_root.resolve()
    try:
        path = (root / name).resolve()
        is_inside, is_file = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError) as err:
        raise InvalidRequest(f"{field} is no path: {err}", {"field": field}) from err
    if not is_inside:
        raise InvalidRequest(f"{field} lies outside the media folder", {"field": field})
    if not is_file:
        raise SourceNotFound(f"no file {name} in the media folder", {"field": field})
    if path.stat().st_size == 0:
        raise InvalidRequest("the file is empty", {"field": field})
    return MediaPath(path=str(path), name=path.name)

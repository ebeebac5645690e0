"""Open a container for reading, and say what speaks against it. Quick to load, as probe must be."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.container import InputContainer
from av.error import FFmpegError

from topclip.errors import ProbeError, SourceNotFound, StorageUnavailable, TopClipError, UnsupportedMedia
from topclip.media.guard import decoder_pixels, source_url
from topclip.media.limits import within_memory
from topclip.media.moov import long_index
from topclip.media.part import Part

KNOWN_HEADS = (b"ftyp", b"moov", b"mdat", b"wide", b"free")
KNOWN_MAGIC = (
    b"\x1a\x45\xdf\xa3",
    b"RIFF",
    b"FLV",
    b"OggS",
    b"\x30\x26\xb2\x75",
    b"\x00\x00\x01\xba",
    b"\x06\x0e\x2b\x34",
)
MJPEG_FORMAT, PICTURES_FORMAT = "mjpeg", "jpeg_pipe"
"""JPEGs one after the other, as cameras write them. Large ones FFmpeg takes for a list of pictures."""

_ELSEWHERE: Final[dict[Path, Callable[[], BinaryIO]]] = {}


@contextlib.contextmanager
def opened_by(path: Path, opened: Callable[[], BinaryIO]) -> Iterator[None]:
    """Within this, the file at a path is read through what `opened` gives: one whose bytes are not all there yet.

    It holds for all threads, since one clip is looked at by several, and paths are known everywhere.
    """
    _ELSEWHERE[path] = opened
    try:
        yield
    finally:
        del _ELSEWHERE[path]


def open_media(path: Path, max_pixels: int | None = None, *, parts: Sequence[Part] | None = None) -> InputContainer:
    """Open a container for reading.

    max_pixels: largest picture that is allowed: nothing much larger is decoded, such as a cover. None: the file is our own.
    parts: what will be read, so that a long index is not loaded whole; elsewhere packets may be missing. None: anything.
    Raises: SourceNotFound, UnsupportedMedia, ProbeError, MediaLimit, StorageUnavailable.
    """
    options = {} if max_pixels is None else {"max_pixels": str(decoder_pixels(max_pixels))}
    try:
        if path.stat().st_size == 0:
            raise UnsupportedMedia("the file is empty", {"field": "source", "hint": "send a video"})
        with within_memory("opening the source"):
            container = _open(path, options, None, parts)
            if container.format.name == PICTURES_FORMAT:
                container.close()
                container = _open(path, options, MJPEG_FORMAT, None)
        return container
    except FileNotFoundError as err:
        raise SourceNotFound(f"no such file: {path.name}", {"field": "source"}) from err
    except PermissionError as err:
        raise SourceNotFound(f"cannot read {path.name}", {"field": "source", "hint": "check its permissions"}) from err
    except (FFmpegError, OSError, ValueError) as err:
        raise _unreadable(path, err) from err


def _open(path: Path, options: dict[str, str], format_name: str | None, parts: Sequence[Part] | None) -> InputContainer:
    elsewhere = _ELSEWHERE.get(path)
    file = None if elsewhere is None else elsewhere()
    place = long_index(path) if parts is not None and file is None else None
    if parts is not None and place is not None:
        from topclip.media.long_index import open_parts  # noqa: PLC0415 - slow to load, and most files have no need of it

        file = open_parts(path, place, parts)
    url, open_options = source_url(path)
    container: InputContainer = av.open(
        url if file is None else file,
        "r",
        format=format_name,
        options=options,
        container_options=dict(open_options),
        metadata_errors="replace",
    )
    return container


def _unreadable(path: Path, err: BaseException) -> TopClipError:
    """Damaged, if it begins like a container that we know; else no media at all."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as failed:
        return StorageUnavailable(f"the source cannot be read now: {reason_of(failed)}", {"field": "source"})
    detail = {"field": "source", "hint": "send a video file such as MP4, MKV, WebM, MOV, AVI or TS"}
    if head[4:8] in KNOWN_HEADS or head.startswith(KNOWN_MAGIC):
        return ProbeError(f"the source is damaged or incomplete: {reason_of(err)}", detail)
    return UnsupportedMedia("the source is not a video that this server reads", detail)


def reason_of(err: BaseException) -> str:
    """What an error says, in words."""
    text = getattr(err, "strerror", None) or str(err)
    return text if isinstance(text, str) else type(err).__name__

"""Prove a joined clip against its source: every packet by its content and times, pictures at the seams by decoding both.

A copied packet that is the same to the bit, behind an IDR picture that is the same to the bit, decodes to the same picture.
What is left to be seen is whether a decoder goes over the seams without a word, and whether the pictures there are the
source's own: so both files are decoded from the nearest IDR picture up to beyond each seam, and compared.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

import av.logging
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from topclip.errors import CheckFailed
from topclip.media.guard import decoder_pixels
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.part import part_of
from topclip.media.prospect import Leads, Prospect
from topclip.media.splice import Splice, digest_of
from topclip.model.source import SourceInfo

BEYOND = 8
"""Copied pictures that are decoded and compared on their side of a seam."""
LEAST_PSNR_DB = 30.0
"""Of a picture that was encoded anew; less is another picture, or a broken one."""
SOUND_TOLERANCE_S = 0.001
PADDED_SAMPLES = 2048
"""Behind the end, of the coder's last blocks."""
HALF = Fraction(1, 2)

Luma = NDArray[np.uint8]


class _Window(NamedTuple):
    """Pictures to be compared, [start_pts, end_pts) of the source, and where decoding begins: in the source lead_s before
    at_pts, in the clip at an IDR picture.
    """

    at_pts: int
    lead_s: float | None
    clip_entry_pts: int
    start_pts: int
    end_pts: int


def prove(
    prospect: Prospect,
    out: Path,
    tick: Callable[[], None],
    max_pixels: int,
    threads: int = 1,
    *,
    is_all_decoded: bool = False,
) -> None:
    """Compare a clip with the source that it was joined from.

    tick(): called for each packet and picture; may raise to stop. max_pixels: largest picture of the source that is allowed.
    threads: how many things may be looked at side by side. is_all_decoded: decode what was copied too, not its key pictures
    alone: that finds what is damaged in the source.
    Raises: CheckFailed, with what is wrong; MediaError.
    """
    info, splice = prospect.info, prospect.splice

    def window(one: _Window, clip: InputContainer) -> None:
        entry = prospect.entry_pts(one.at_pts, one.lead_s)
        with av.logging.Capture():  # what is said of the source as it is opened, such as of a cover, is not the clip's
            original = open_media(prospect.source, max_pixels, parts=[part_of(info, entry, one.end_pts)])
        with original:
            pictures = _Pictures(clip, clip.streams.video[0].index, info.video.tick, tick)
            others = _Pictures(original, info.video.index, info.video.tick, tick)
            others.limit(max_pixels)
            wanted = _unheard(others.between(entry, one.start_pts, one.end_pts))
            with closing(_ahead(wanted) if threads > 1 else wanted) as wanted:
                _prove_window(pictures, wanted, splice, one)

    quick: list[Callable[[InputContainer], None]] = [
        lambda clip: _prove_packets(clip, info, splice, tick),
        lambda clip: _decode(clip, tick, "DEFAULT" if is_all_decoded else "NONKEY"),
        lambda clip: _prove_sound(clip, info, splice, tick),
    ]
    with ThreadPoolExecutor(threads) as pool:
        windows = [pool.submit(_without_a_word, out, partial(window, one)) for one in _windows(splice, prospect.leads)]
        for look in [
            *(pool.submit(_without_a_word, out, look) for look in quick),
            *windows,
        ]:  # packets tell most clearly
            look.result()


def _without_a_word(out: Path, look: Callable[[InputContainer], None]) -> None:
    """Look at a clip, in which no decoder may find anything to complain of."""
    with within_memory("checking the clip"), decoder_messages() as said:
        try:
            with open_media(out) as clip:
                look(clip)
        except (FFmpegError, OSError) as err:
            raise CheckFailed(f"the joined clip does not decode: {err}") from err
        if said:
            raise CheckFailed(f"a decoder complains of the joined clip: {in_one_line(said)}")


@contextmanager
def decoder_messages() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg says in this thread, warnings and worse, as it is said: level, who, what."""
    with _TALKING, av.logging.Capture() as said:
        yield said


class _Talking:
    """FFmpeg says what it has to say as long as anybody listens: that is one setting for all threads."""

    def __init__(self) -> None:
        self._lock, self._n_listeners = Lock(), 0
        self._before: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_listeners:
                self._before = av.logging.get_level()
                av.logging.set_level(av.logging.WARNING)
            self._n_listeners += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_listeners -= 1
            if not self._n_listeners:
                av.logging.set_level(self._before)


_TALKING = _Talking()


def in_one_line(said: Sequence[tuple[int, str, str]]) -> str:
    """The first message."""
    _, who, what = said[0]
    return f"{who}: {what.strip()}"


def _prove_packets(clip: InputContainer, info: SourceInfo, splice: Splice, tick: Callable[[], None]) -> None:
    """Each picture is there once, at its time, and the copied ones hold what the source holds."""
    stream = clip.streams.video[0]
    start, last_dts = splice.pts[0], None
    packets = (packet for packet in clip.demux(stream) if packet.size)
    try:
        for n, (at, packet) in enumerate(zip(splice.decoding_order, packets, strict=True)):
            tick()
            pts, dts = packet.pts, packet.dts
            if pts is None or pts * packet.time_base != (at - start) * info.video.tick:
                raise CheckFailed(f"picture {n} of the joined clip has another time than in the source")
            if dts is None or dts > pts or (last_dts is not None and dts <= last_dts):
                raise CheckFailed(f"picture {n} of the joined clip has a wrong decoding time")
            last_dts = dts
            piece = splice.copied[n - splice.n_head] if 0 <= n - splice.n_head < len(splice.copied) else None
            if piece is not None and digest_of(bytes(packet)) != piece.digest:
                raise CheckFailed(f"picture {n} of the joined clip is not the source's to the bit")
    except ValueError as err:
        raise CheckFailed("the joined clip has more or fewer pictures than the source") from err
    length_s = (splice.end_pts - start) * info.video.tick
    if abs((stream.duration or 0) * _unit(stream) - length_s) > info.video.tick:
        raise CheckFailed("the joined clip's picture does not last as long as the source's")


class _Pictures:
    """A file's pictures by their time, in units of `tick`."""

    def __init__(self, container: InputContainer, index: int, tick: Fraction, on_picture: Callable[[], None]) -> None:
        self._container, self._tick, self._on_picture = container, tick, on_picture
        self._stream: Any = container.streams[index]
        self._stream.codec_context.thread_count = 1

    def limit(self, max_pixels: int) -> None:
        """Decode no larger pictures than these."""
        self._stream.codec_context.options = {"max_pixels": str(decoder_pixels(max_pixels))}

    def between(self, entry: int | None, start: int, end: int) -> Iterator[tuple[int, Luma]]:
        """Time and brightness of the pictures of [start, end), uint8, shape (height, width).

        entry: where decoding begins, at a key picture or soon before one; None: with the file.
        """
        if entry is not None:
            self._container.seek(int((entry + HALF) * self._tick / _unit(self._stream)), stream=self._stream)
        for frame in self._container.decode(self._stream):
            self._on_picture()
            if frame.pts is None:
                continue
            at = round(frame.pts * _unit(self._stream) / self._tick)
            if at >= end:
                return
            if at >= start:
                yield at, _luma(frame)


def _windows(splice: Splice, leads: Leads) -> Iterator[_Window]:
    """What is to be decoded: around the seam behind the head, and around that before the tail."""
    pts, n_head, n_tail = splice.pts, splice.n_head, splice.n_tail
    n_behind = min(n_head + BEYOND, len(pts))
    behind_pts = pts[n_behind] if n_behind < len(pts) else splice.end_pts
    if n_head or not n_tail:
        yield _Window(pts[0], leads.head_s, pts[0], pts[0], behind_pts)
    if n_tail:
        first = max(n_head, len(pts) - n_tail - BEYOND)
        first = max(first, pts.index(splice.tail_entry_pts))
        yield _Window(splice.tail_pts, leads.tail_s, splice.tail_entry_pts, pts[first], splice.end_pts)


def _prove_window(clip: _Pictures, wanted: Iterator[tuple[int, Luma]], splice: Splice, window: _Window) -> None:
    """The pictures of a window are the source's own: copied ones to the bit, the others as near as encoding leaves them."""
    start, copied = splice.pts[0], range(splice.head_end_pts, splice.tail_pts)
    found = clip.between(window.clip_entry_pts - start, window.start_pts - start, window.end_pts - start)
    n = 0
    for (at, source_luma), (clip_at, clip_luma) in zip_longest(wanted, found, fillvalue=(None, None)):
        if at is None or source_luma is None or clip_at is None or clip_luma is None or clip_at + start != at:
            raise CheckFailed(f"picture {n} behind a seam of the joined clip is not where it is in the source")
        n += 1
        if at in copied:
            if not np.array_equal(source_luma, clip_luma):
                raise CheckFailed("a copied picture decodes to another one behind the seam")
        elif _psnr_db(source_luma, clip_luma) < LEAST_PSNR_DB:
            raise CheckFailed("a picture next to a seam is not the source's")
    if n != sum(window.start_pts <= at < window.end_pts for at in splice.pts):
        raise CheckFailed("pictures at a seam of the joined clip do not decode")


def _unheard(pictures: Iterator[tuple[int, Luma]]) -> Generator[tuple[int, Luma]]:
    """The same; what the decoder says on the way is not the clip's: a seek may land between key pictures."""
    while True:
        with av.logging.Capture():
            found = next(pictures, None)
        if found is None:
            return
        yield found


def _ahead(pictures: Generator[tuple[int, Luma]]) -> Generator[tuple[int, Luma]]:
    """The same; the next one is decoded while the last one is looked at."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, pictures, None)
        while (found := coming.result()) is not None:
            coming = worker.submit(next, pictures, None)
            yield found


def _unit(stream: Stream) -> Fraction:
    return stream.time_base or Fraction(1)


def _luma(frame: VideoFrame) -> Luma:
    plane = frame.planes[0]
    rows: Luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()


def _psnr_db(a: Luma, b: Luma) -> float:
    """Of every other line; infinite if they are the same."""
    if a.shape != b.shape:
        return -np.inf
    error = float(np.mean(np.square(a[::2].astype(np.int16) - b[::2].astype(np.int16), dtype=np.float32)))
    return float(np.inf if error == 0 else 10 * np.log10(255**2 / error))


def _decode(clip: InputContainer, tick: Callable[[], None], skip: Literal["DEFAULT", "NONKEY"]) -> None:
    """All pictures that are not skipped decode."""
    stream = clip.streams.video[0]
    stream.codec_context.thread_count = 1
    stream.codec_context.skip_frame = skip
    for packet in clip.demux(stream):
        if packet.is_keyframe or not packet.size or skip == "DEFAULT":
            tick()
            packet.decode()


def _prove_sound(clip: InputContainer, info: SourceInfo, splice: Splice, tick: Callable[[], None]) -> None:
    """The sound decodes, begins with the picture and lasts as long."""
    if info.audio is None:
        return
    stream, n_samples = clip.streams.audio[0], 0
    for frame in clip.decode(stream):
        tick()
        n_samples += frame.samples
    length_s = float((splice.end_pts - splice.pts[0]) * info.video.tick)
    if stream.start_time or abs((stream.duration or 0) * _unit(stream) - length_s) > SOUND_TOLERANCE_S:
        raise CheckFailed("the joined clip's sound does not last as long as its picture")
    if n_samples < (length_s - SOUND_TOLERANCE_S) * stream.rate:
        raise CheckFailed("the joined clip's sound breaks off")
    if n_samples > length_s * stream.rate + PADDED_SAMPLES:  # where the source's changes its form
        raise CheckFailed("the joined clip has more sound than there is time for")

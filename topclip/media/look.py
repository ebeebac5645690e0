"""Look at a rendered clip as a stranger would: open it anew, decode it to the end in one pass, and measure.

Must know nothing of what was wanted. Pictures are measured on a grid of their points: scaling each one down would cost more
than decoding it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from topclip.errors import CheckFailed, TopClipError
from topclip.media.colour import colour_of
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.sound import BLOCK_SAMPLES, RATE_HZ, WINDOW_BLOCKS, momentary_lufs
from topclip.model.geometry import Size
from topclip.model.source import Colour

PIXEL_FORMAT = "yuv420p"
GRID_PX = 8
"""One point of so many is measured, each way."""
BLACK_LEVEL = 4.0
"""Mean grey of a frame, 0-255, up to which it counts as black."""
FROZEN_LEVEL, FLICKER, WHILE_S = 0.02, 0.1, 0.5
"""Mean change of grey to the frame before, 0-255, up to which the picture stands still; a coder may have it flicker by more,
but not have it be another one after a while.
"""
POSTER_SHARE, POSTER_FRAMES = 1 / 3, 24
"""A poster is looked for from there on among so many frames."""
POSTER_WIDTH_PX, POSTER_QUALITY = 640, 4
UNSAID = 2
MEASURED_TAIL_S = 0.2
"""Silence after the sound, so that the meter tells of the last of it."""
FLOOR_DB = -120.0
DAMAGED_HINT = (
    "the source may be damaged here: choose another range, or convert it: ffmpeg -i IN -c:v libx264 -c:a aac OUT.mkv"
)

Tick = Callable[[], None]
Greys = NDArray[np.float32]


@dataclass
class Pictures:
    """What decoding the picture showed. Seconds.

    black, frozen: shares of the frames, 0-1. poster: a JPEG of a frame rich in contrast, None if there is none. fault: why
    decoding broke off.
    """

    n_frames: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    black: float = 0.0
    frozen: float = 0.0
    poster: bytes | None = field(default=None, repr=False)
    fault: str | None = None


@dataclass(frozen=True)
class Sound:
    """What decoding the sound gave.

    start_s, end_s: as the container says. heard_s: what came out, however it is to be shown. momentary_lufs: float64, one for
    each 100 ms; not a number while less than 400 ms were heard. true_peak_db: by ITU-R BS.1770 at four times the rate, dBTP.
    """

    start_s: float
    end_s: float
    heard_s: float
    momentary_lufs: NDArray[np.float64]
    true_peak_db: float


@dataclass(frozen=True)
class Found:
    """What a file holds. colour: as its first frame says."""

    codecs: tuple[str, ...]
    pixel_format: str
    size: Size
    colour: Colour | None
    pictures: Pictures
    sound: Sound | None


def look(path: Path, tick: Tick, *, threads: int = 1) -> Found:
    """Decode a clip to the end.

    tick(): called for each packet; may raise to stop. threads: for the picture; messages of the decoder can be heard with one
    only. Raises: CheckFailed if it cannot be opened or has no picture.
    """
    with _opened(path) as container, within_memory("checking the clip"):
        if not container.streams.video:
            raise CheckFailed("no picture came out of this range of the source", {"hint": DAMAGED_HINT})
        video, audio = container.streams.video[0], next(iter(container.streams.audio), None)
        video.codec_context.thread_count = threads
        video.codec_context.thread_type = "FRAME" if threads > 1 else "SLICE"
        eye, ear = _Eye(video), None if audio is None else _Ear()
        _decode(container, [s for s in (video, audio) if s is not None], eye, ear, tick)
        context = video.codec_context
        return Found(
            codecs=tuple(s.codec_context.name for s in (*container.streams.video, *container.streams.audio)),
            pixel_format=str(context.pix_fmt),
            size=Size(context.width, context.height),
            colour=eye.colour,
            pictures=eye.pictures(),
            sound=None if audio is None or ear is None else ear.sound(audio),
        )


def listen(path: Path, tick: Tick) -> Sound | None:
    """Decode the sound of a clip alone. Raises: CheckFailed if it cannot be read."""
    with _opened(path) as container, within_memory("checking the clip"):
        audio, ear = next(iter(container.streams.audio), None), _Ear()
        if audio is None:
            return None
        try:
            for packet in container.demux(audio):
                tick()
                ear.hear(packet)
        except (FFmpegError, ValueError) as err:
            raise CheckFailed(f"the clip's sound cannot be read: {err}", {"hint": DAMAGED_HINT}) from err
        return ear.sound(audio)


def _opened(path: Path) -> InputContainer:
    try:
        return open_media(path)
    except TopClipError as err:
        raise CheckFailed(f"the clip cannot be read: {err.message}", {"hint": DAMAGED_HINT}) from err


def _decode(
    container: InputContainer, streams: list[VideoStream | AudioStream], eye: "_Eye", ear: "_Ear | None", tick: Tick
) -> None:
    try:
        for packet in container.demux(streams):
            tick()
            if isinstance(packet.stream, VideoStream):
                for frame in packet.decode():
                    if isinstance(frame, VideoFrame):
                        eye.see(frame)
            elif ear is not None:
                ear.hear(packet)
    except (FFmpegError, ValueError) as err:
        eye.fault = str(err)


class _Eye:
    """Watches frames go by."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream, self._unit_s = stream, float(stream.time_base or Fraction(1))
        self._poster_s = POSTER_SHARE * (stream.duration or 0) * self._unit_s
        self._lately: deque[tuple[float, Greys]] = deque()
        self._poster: tuple[float, VideoFrame] | None = None
        self._n = self._n_black = self._n_frozen = self._n_posters = 0
        self._start_s = self._end_s = 0.0
        self.colour: Colour | None = None
        self.fault: str | None = None

    def see(self, frame: VideoFrame) -> None:
        """Take the next frame."""
        at_s = (frame.pts or 0) * self._unit_s
        if not self._n:
            self._start_s, self.colour = at_s, colour_of(frame)
        self._n += 1
        self._end_s = at_s + (frame.duration or 0) * self._unit_s  # shown at least so long
        greys = _greys(frame)
        self._n_black += float(greys.mean()) <= BLACK_LEVEL
        self._n_frozen += self._is_frozen(at_s, greys)
        if frame.format.name != PIXEL_FORMAT:
            return
        if self._poster is None:
            self._poster = -1.0, frame  # in case that none comes so late
        elif at_s - self._start_s >= self._poster_s and self._n_posters < POSTER_FRAMES:
            self._n_posters += 1
            self._poster = max(self._poster, (float(greys.std()), frame), key=lambda p: p[0])

    def _is_frozen(self, at_s: float, greys: Greys) -> bool:
        """Whether the next frame is as the one before it, or but flickers."""
        if self._lately and self._lately[-1][1].shape != greys.shape:
            self._lately.clear()
        last, then = (self._lately[-1][1], self._lately[0][1]) if self._lately else (None, None)
        self._lately.append((at_s, greys))
        while len(self._lately) > 1 and self._lately[1][0] <= at_s - WHILE_S:
            self._lately.popleft()
        if last is None or then is None:
            return False
        change = _change(greys, last)
        return change <= FROZEN_LEVEL or (change <= FLICKER and _change(greys, then) <= FLICKER)

    def pictures(self) -> Pictures:
        """What was seen."""
        length = self._stream.duration
        return Pictures(
            n_frames=self._n,
            start_s=self._start_s,
            end_s=self._start_s + length * self._unit_s if length else self._end_s,
            black=self._n_black / max(1, self._n),
            frozen=self._n_frozen / max(1, self._n - 1),
            poster=None if self._poster is None else _jpeg(self._poster[1]),
            fault=self.fault,
        )


def _change(a: Greys, b: Greys) -> float:
    return float(np.abs(a - b).mean())


def _greys(frame: VideoFrame) -> Greys:
    """Points of a frame, float32, 0-255; a single black one where the pixels are not a clip's."""
    if frame.format.name != PIXEL_FORMAT:
        return np.zeros((1, 1), np.float32)
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    points = rows[: frame.height : GRID_PX, : frame.width : GRID_PX].astype(np.float32)
    greys: Greys = np.clip((points - 16) * np.float32(255 / 219), 0, 255)
    return greys


def _jpeg(frame: VideoFrame) -> bytes:
    """A small JPEG of a frame."""
    width = min(POSTER_WIDTH_PX, frame.width)
    height = max(2, round(frame.height * width / frame.width / 2) * 2)
    frame.color_primaries = frame.color_trc = UNSAID  # FFmpeg scales no picture of rare ones
    small = VideoReformatter().reformat(frame, width, height, PIXEL_FORMAT, dst_color_range=ColorRange.JPEG)
    small.pts = 0
    encoder = CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, PIXEL_FORMAT, Fraction(1, 25)
    encoder.color_range = ColorRange.JPEG
    encoder.qmin = encoder.qmax = POSTER_QUALITY
    encoder.options = {"flags": "+bitexact"}
    return b"".join(bytes(packet) for packet in (*encoder.encode(small), *encoder.encode(None)))


class _Ear:
    """Measures frames of sound by FFmpeg's ebur128."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._momentary: list[float] = []
        self._n_samples = 0
        self._peak = 0.0

    def hear(self, packet: "Packet[Any]") -> None:
        """Take the next packet; what does not decode is passed over: silence is found by the loudness."""
        try:
            frames = packet.decode()
        except FFmpegError:
            return
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            if self._graph is None:
                self._graph = _meter(frame)
            self._n_samples += frame.samples * RATE_HZ // frame.sample_rate
            self._graph.push(frame)
            self._read(self._graph)

    def sound(self, stream: AudioStream) -> Sound:
        """What was heard."""
        if self._graph is not None:
            self._graph.push(None)
            self._read(self._graph)
            self._graph = None
        unit = stream.time_base or Fraction(1, RATE_HZ)
        start_s = float((stream.start_time or 0) * unit)
        return Sound(
            start_s=start_s,
            end_s=start_s + float((stream.duration or 0) * unit),
            heard_s=self._n_samples / RATE_HZ,
            momentary_lufs=np.array(self._momentary[: self._n_samples // BLOCK_SAMPLES], np.float64),
            true_peak_db=20 * math.log10(self._peak) if self._peak > 0 else FLOOR_DB,
        )

    def _read(self, graph: Graph) -> None:
        for said in _metadata(graph):
            self._momentary.append(momentary_lufs(said, is_full=len(self._momentary) + 1 >= WINDOW_BLOCKS))
            self._peak = max(self._peak, float(said["lavfi.r128.true_peak"]))


def _meter(frame: AudioFrame) -> Graph:
    graph = Graph()
    graph.threads = 1  # more of them wait for one another longer than they work
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=Fraction(1, frame.sample_rate),
    )
    graph.link_nodes(
        source,
        graph.add("apad", f"pad_dur={MEASURED_TAIL_S}"),
        graph.add("aformat", f"sample_fmts=flt:channel_layouts=stereo:sample_rates={RATE_HZ}"),
        graph.add("ebur128", "metadata=1:peak=true"),
        graph.add("abuffersink"),
    )
    graph.configure()
    return graph


def _metadata(graph: Graph) -> Iterator[dict[str, str]]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        if "lavfi.r128.M" in frame.metadata:
            yield frame.metadata

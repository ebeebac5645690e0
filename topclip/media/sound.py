"""Sound to loudness: decoded frames through FFmpeg's ebur128 filter, on a grid of 100 ms that gaps cannot shift.

What is measured is the stereo mix at 48 kHz that a clip will carry, so that a gain computed here is right there.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.filter import Graph

from topclip.media.opening import open_media
from topclip.media.probe import SOUND_RATES_HZ, audio_stream
from topclip.media.spectrum import spectra
from topclip.model.analysis import FloatArray

RATE_HZ = 48_000
BLOCK_S = 0.1
BLOCK_SAMPLES = 4_800
FLOOR_LUFS = -120.0
FLOOR_DB = -120.0
LEVELS_PER_BLOCK = 2
WINDOW_BLOCKS = 4
BLOCKS_AT_ONCE = 8
"""So many are reckoned together: one by one the reckoning would cost more than the sound's decoding."""
BEHIND_FRAMES = 12
CLAMP = (("volume", "0.25"), ("asoftclip", "type=hard:output=4"))
"""FFmpeg's filters that keep samples within 4 times full scale, 12 dB above it. A damaged frame can decode to 100 000 times
full scale, which would outweigh hours, and its rounding errors stay in the meter's sums as a hum above the gate. No sound
comes so far: the downmix of 7.1 with all channels at full scale reaches 3.1, float recordings are mixed with less to spare.
Powers of two, so that what lies within stays the same to the bit; behind them nothing is infinite or no number."""


@dataclass(frozen=True)
class SoundBlock:
    """100 ms of sound that begin at start_s seconds of the container's clock.

    momentary_lufs: EBU R128 loudness of the 400 ms that end with the block; not a number while less was heard.
    levels_db: RMS of its two halves, dBFS. spectra: of these, as `topclip.media.spectrum` has them.
    peak: largest sample, full scale 1; 4 at most.
    """

    start_s: float
    momentary_lufs: float
    levels_db: FloatArray
    spectra: FloatArray
    peak: float


class Meter:
    """Measures one stream of audio frames from a point of time on.

    origin_s: time of the container's clock at which the first block begins; sound before it is dropped, gaps are filled
    with silence, so block k begins at origin_s + k * BLOCK_S whatever the timestamps do. end_s: the time after which nothing
    is asked for; None: there is none. A frame behind it that stands alone is damage and dropped, so that no gap of years is
    ever filled; after BEHIND_FRAMES of them the sound is over, and silence up to end_s.
    """

    def __init__(self, origin_s: Fraction, end_s: Fraction | None = None) -> None:
        self._end_s = end_s
        self._n_behind = 0
        self._next_sample = round(origin_s * RATE_HZ)
        self._graph: Graph | None = None
        self._shape: tuple[object, ...] = ()
        self._n_heard = 0
        self._waiting: list[tuple[float, float, FloatArray]] = []

    def push(self, frame: AudioFrame) -> Iterator[SoundBlock]:
        """Take the next frame; yields the blocks that are now complete.

        Raises: FFmpegError or ValueError on a frame gone bad.
        """
        if frame.sample_rate not in SOUND_RATES_HZ:
            raise ValueError(f"sound at {frame.sample_rate} Hz")
        if self._end_s is not None and frame.pts is not None and frame.pts * (frame.time_base or 0) > self._end_s:
            self._n_behind += 1
            if self._n_behind != BEHIND_FRAMES:
                return
            frame = self._silent_end(frame)
        elif self._n_behind < BEHIND_FRAMES:
            self._n_behind = 0
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._graph is None or shape != self._shape:
            yield from self.finish()
            self._graph, self._shape, self._n_heard = self._build(frame), shape, 0
        self._graph.push(frame)
        yield from self._pull(self._graph)

    def _silent_end(self, like: AudioFrame) -> AudioFrame:
        """A moment of silence at the end, up to which gaps are filled."""
        assert self._end_s is not None
        frame = AudioFrame(format=like.format.name, layout=like.layout.name, samples=like.sample_rate // 10)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.time_base = like.sample_rate, like.time_base  # in which the filters count
        frame.pts = int(self._end_s / (like.time_base or Fraction(1, like.sample_rate)))
        return frame

    def finish(self) -> Iterator[SoundBlock]:
        """The blocks still under way."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.push(None)
            yield from self._pull(graph)
        yield from self._blocks()

    def _build(self, frame: AudioFrame) -> Graph:
        graph = Graph()
        graph.threads = 1  # more of them wait for one another longer than they work
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base or Fraction(1, frame.sample_rate),
        )
        origin_s = self._next_sample / RATE_HZ
        chain = [
            # AVI counts in whole frames of sound, in which no cut can be exact.
            graph.add("asettb", f"1/{frame.sample_rate}"),
            graph.add("atrim", f"start={origin_s:.9f}"),
            # first_pts counts samples of the *input's* rate, although the documentation says only "samples".
            graph.add("aresample", f"{RATE_HZ}:async=1:first_pts={round(origin_s * frame.sample_rate)}"),
            graph.add("aformat", f"sample_fmts=flt:channel_layouts=stereo:sample_rates={RATE_HZ}"),
            # What follows costs as much for a few samples as for many.
            graph.add("asetnsamples", f"{BLOCK_SAMPLES}:p=0"),
            *(graph.add(name, options) for name, options in CLAMP),
            graph.add("aformat", "sample_fmts=flt"),
            graph.add("ebur128", "metadata=1"),
            graph.add("aformat", "sample_fmts=flt"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(source, *chain)
        graph.configure()
        return graph

    def _pull(self, graph: Graph) -> Iterator[SoundBlock]:
        while True:
            try:
                frame = graph.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(frame, AudioFrame)
            start_s = self._next_sample / RATE_HZ
            self._next_sample += frame.samples
            if frame.samples == BLOCK_SAMPLES:
                self._n_heard += 1
                loudness = momentary_lufs(frame.metadata, is_full=self._n_heard >= WINDOW_BLOCKS)
                samples = frame.to_ndarray().astype(np.float32, copy=False)
                self._waiting.append((start_s, loudness, samples.reshape(LEVELS_PER_BLOCK, -1)))
            if len(self._waiting) == BLOCKS_AT_ONCE:
                yield from self._blocks()

    def _blocks(self) -> Iterator[SoundBlock]:
        """Those that wait."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        samples = np.concatenate([part for _, _, part in waiting])
        power = np.mean(np.square(samples), axis=1)
        levels = (10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).astype(np.float32)
        peaks = np.max(np.abs(samples), axis=1).reshape(len(waiting), -1).max(axis=1)
        numbers = spectra(samples, RATE_HZ)
        for n, (start_s, loudness, _) in enumerate(waiting):
            rows = slice(n * LEVELS_PER_BLOCK, (n + 1) * LEVELS_PER_BLOCK)
            yield SoundBlock(start_s, loudness, levels[rows], numbers[rows], float(peaks[n]))


def momentary_lufs(said: Mapping[str, str], *, is_full: bool) -> float:
    """What ebur128 says of the 400 ms up to a block's end; not a number if fewer were heard.

    Its sums are running ones: in silence after sound they may fall below nothing by rounding, of which there is no logarithm.
    """
    if not is_full:
        return math.nan
    heard = float(said.get("lavfi.r128.M", FLOOR_LUFS))
    return max(FLOOR_LUFS, heard) if math.isfinite(heard) else FLOOR_LUFS


def measure_file(path: Path, tick: Callable[[], None]) -> list[SoundBlock]:
    """All blocks of a file's sound, from its start; empty if it has none.

    tick(): called for each packet; may raise to stop. Raises: MediaError.
    """
    blocks: list[SoundBlock] = []
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return blocks
        meter = Meter(Fraction(0))
        for packet in container.demux(stream):
            tick()
            try:
                frames = packet.decode()
            except FFmpegError:
                continue
            for frame in frames:
                blocks.extend(meter.push(frame))
        blocks.extend(meter.finish())
    return blocks

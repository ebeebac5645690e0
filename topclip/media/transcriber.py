"""The optional transcriber: faster-whisper, which comes with `topclip[whisper]`, ten minutes of sound at a time.

Nothing is ever downloaded unless the operator allows it. Memory does not grow with the source.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.filter import Graph
from numpy.typing import NDArray

from topclip.errors import NoTranscriber
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.probe import SOUND_RATES_HZ
from topclip.model.source import SourceInfo
from topclip.model.transcript import Cue, Word

RATE_HZ: Final = 16_000
"""What the models are made for."""
WINDOW_S: Final = 600
QUIET_S: Final = 30
"""A window ends at the quietest moment of its last so many seconds, so that no word is cut."""
QUIET_SAMPLES: Final = RATE_HZ // 4
MOST_CHARS, LONGEST_S, PAUSE_S = 84, 7.0, 0.8
"""A cue ends before it has two lines more than full, or stands longer than is read with ease, and where the speaker pauses."""
ENDS: Final = (".", "!", "?", "…", "。", "！", "？", "؟", "।")
LOADING_FAULTS: Final = (OSError, ValueError, RuntimeError)
"""What the library raises for a model that is not there or is none."""

Samples = NDArray[np.float32]
Report = Callable[[float, float], None]


@dataclass(frozen=True)
class TranscriberModel:
    """Which model: a name such as `small`, or a folder. may_download: whether one that is not here may be fetched."""

    name: str
    may_download: bool = False

    def load(self, threads: int) -> Any:
        """The model. Raises: NoTranscriber."""
        try:
            from faster_whisper import WhisperModel  # noqa: PLC0415 - an optional extra
        except ImportError as err:
            hint = "install it beside TopClip: pip install 'topclip[whisper]', on every worker; or send a subtitle file"
            detail = {"field": "transcribe", "hint": hint}
            raise NoTranscriber("this server has no transcriber", detail) from err
        try:
            return WhisperModel(
                self.name,
                device="cpu",
                compute_type="int8",
                cpu_threads=threads,
                local_files_only=not self.may_download,
            )
        except LOADING_FAULTS as err:
            hint = "name a folder by TOPCLIP_WHISPER_MODEL, or allow it to be fetched by TOPCLIP_WHISPER_DOWNLOAD=true"
            detail = {"field": "transcribe", "hint": hint}
            raise NoTranscriber(f"the transcriber's model {self.name!r} cannot be loaded: {err}", detail) from err


def recognise(path: Path, info: SourceInfo, model: TranscriberModel, threads: int, report: Report) -> tuple[Cue, ...]:
    """What is said, in cues with the times of words.

    report(done_s, total_s): called as it goes; may raise to stop. Raises: NoTranscriber, ProbeError, MediaLimit.
    """
    with within_memory("recognising speech"):
        loaded = model.load(threads)
        words: list[Word] = []
        for start_s, samples in _windows(path, info, report):
            segments, _ = loaded.transcribe(samples, word_timestamps=True, temperature=0.0, vad_filter=True)
            for segment in segments:  # recognised one after the other, as they are asked for
                report(min(info.duration_s, start_s + segment.end), info.duration_s)
                words += [_word(word, start_s, info.duration_s) for word in segment.words or () if word.word.strip()]
    words[:1] = [word.model_copy(update={"is_joined": False}) for word in words[:1]]
    return tuple(_cue(part) for part in _parts(words))


def _word(word: Any, offset_s: float, duration_s: float) -> Word:
    text = word.word.strip()
    start_s, end_s = (round(min(duration_s, offset_s + float(at)), 3) for at in (word.start, word.end))
    is_joined, is_end = not word.word[0].isspace(), text.endswith(ENDS)
    return Word(
        start_s=start_s, end_s=max(start_s, end_s), text=text, is_timed=True, is_joined=is_joined, ends_sentence=is_end
    )


def _parts(words: list[Word]) -> Iterator[list[Word]]:
    part: list[Word] = []
    for word, after in pairwise([*words, None]):
        assert word is not None
        part.append(word)
        if after is None or _is_full(part, after):
            yield part
            part = []


def _is_full(part: list[Word], after: Word) -> bool:
    if after.is_joined:
        return False
    chars = sum(len(word.text) + 1 for word in part) + len(after.text)
    is_late = after.end_s - part[0].start_s > LONGEST_S or after.start_s - part[-1].end_s > PAUSE_S
    return part[-1].ends_sentence or chars > MOST_CHARS or is_late


def _cue(words: list[Word]) -> Cue:
    text = "".join(word.text if word.is_joined else f" {word.text}" for word in words).strip()
    return Cue(start_s=words[0].start_s, end_s=words[-1].end_s, text=text, words=tuple(words))


def _windows(path: Path, info: SourceInfo, report: Report) -> Iterator[tuple[float, Samples]]:
    """The sound at RATE_HZ, mono, float32, full scale 1: each window's start in seconds from the first frame, and samples."""
    held, n_held, start = [], 0, 0
    for block in _sound(path, info, lambda: report(0.0, info.duration_s)):
        held.append(block)
        n_held += len(block)
        if n_held >= WINDOW_S * RATE_HZ:
            samples = np.concatenate(held)
            end = _quiet_end(samples)
            yield start / RATE_HZ, samples[:end]
            held, n_held, start = [samples[end:]], len(samples) - end, start + end
    if n_held:
        yield start / RATE_HZ, np.concatenate(held)


def _quiet_end(samples: Samples) -> int:
    n = QUIET_S * RATE_HZ // QUIET_SAMPLES
    tail = samples[-n * QUIET_SAMPLES :].reshape(n, QUIET_SAMPLES)
    power = np.mean(np.square(tail, dtype=np.float64), axis=1)
    return len(samples) - (n - int(np.argmin(power))) * QUIET_SAMPLES + QUIET_SAMPLES // 2


def _sound(path: Path, info: SourceInfo, tick: Callable[[], None]) -> Iterator[Samples]:
    assert info.audio is not None
    origin_s = float(info.video.start_pts * info.video.tick)
    with open_media(path) as container:
        graph, shape, n_given = None, None, 0
        for packet in read_packets(container, container.streams[info.audio.index]):
            tick()
            try:
                frames = packet.decode()
            except FFmpegError:
                continue
            for frame in frames:
                if not isinstance(frame, AudioFrame) or frame.sample_rate not in SOUND_RATES_HZ:
                    continue
                now = (frame.format.name, frame.layout.name, frame.sample_rate)
                if graph is None or now != shape:
                    for block in _ended(graph):
                        n_given += len(block)
                        yield block
                    graph, shape = _graph(frame, origin_s + n_given / RATE_HZ), now
                graph.push(frame)
                for block in _pulled(graph):
                    n_given += len(block)
                    yield block
        yield from _ended(graph)


def _graph(frame: AudioFrame, origin_s: float) -> Graph:
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=frame.time_base or Fraction(1, frame.sample_rate),
    )
    chain = [
        graph.add("asettb", f"1/{frame.sample_rate}"),
        graph.add("atrim", f"start={origin_s:.9f}"),
        graph.add("aresample", f"{RATE_HZ}:async=1:first_pts={round(origin_s * frame.sample_rate)}"),
        graph.add("aformat", f"sample_fmts=flt:channel_layouts=mono:sample_rates={RATE_HZ}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(source, *chain)
    graph.configure()
    return graph


def _ended(graph: Graph | None) -> Iterator[Samples]:
    """What a graph still holds."""
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[Samples]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, AudioFrame)
        yield frame.to_ndarray().reshape(-1).astype(np.float32, copy=False)


__all__ = ["TranscriberModel", "recognise"]

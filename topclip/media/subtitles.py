"""Text tracks of a source, and ASS files: FFmpeg's demuxers and decoders, cues out."""

import contextlib
import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle

from topclip.errors import BadSubtitles, MediaError
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.model.source import SourceInfo
from topclip.model.transcript import RawCue

TEXT_CODECS = ("mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text")
"""Tracks of pictures (DVD, Blu-ray, DVB) hold no text."""
ASS_FIELDS = 8
"""Commas before the text of an event as FFmpeg hands it on."""
DEFAULT_LENGTH_MS = 3000
"""Of a cue whose container does not say how long it is shown."""


def embedded_cues(path: Path, info: SourceInfo, max_pixels: int, tick: Callable[[], None]) -> tuple[int, list[RawCue]]:
    """The best text track that has a cue: its index in the container, and the cues on the source's own clock.

    Best is one in the language of the source's sound, then one that is neither forced nor for those who hear badly, which has
    less or other words than are said; of several the first.

    tick(): called for each packet; may raise to stop. Returns (-1, []) if there is none. A cue that cannot be decoded is left
    out. Raises: ProbeError, MediaLimit, SourceNotFound.
    """
    found: dict[int, list[RawCue]] = {}
    with open_media(path, max_pixels, parts=[]) as container, within_memory("reading the subtitles"):
        tracks = [s for s in container.streams.subtitles if s.codec_context and s.codec_context.name in TEXT_CODECS]
        if not tracks:
            return -1, []
        spoken = None if info.audio is None else container.streams[info.audio.index].language
        best_first = [s.index for s in sorted(tracks, key=lambda s: _rank(s, spoken))]
        with contextlib.suppress(FFmpegError, OSError):  # the pictures tell whether the source can be used
            for packet in read_packets(container, *tracks):
                tick()
                found.setdefault(packet.stream.index, []).extend(_cues_of(packet))
    start_s = info.video.start_pts * info.video.tick
    for n in best_first:
        if cues := found.get(n):
            return n, [cue.moved(-round(start_s * 1000)) for cue in cues]
    return -1, []


def _rank(track: SubtitleStream, spoken: str | None) -> tuple[bool, bool, bool, int]:
    """Less is better. spoken: the language of the sound; where either has none, no language is another one."""
    is_foreign = bool(spoken and track.language) and track.language != spoken
    is_for_deaf = bool(track.disposition & Disposition.hearing_impaired)
    return bool(track.disposition & Disposition.forced), is_foreign, is_for_deaf, track.index


def ass_cues(content: bytes, name: str) -> list[RawCue]:
    """The cues of an ASS or SSA file, UTF-8. Raises: BadSubtitles."""
    hint = "send it as SRT or WebVTT"
    try:
        with av.open(io.BytesIO(content), format="ass") as container, within_memory("reading the subtitles"):
            cues = [cue for packet in container.demux() for cue in _cues_of(packet)]
    except (FFmpegError, MediaError) as err:
        raise BadSubtitles(f"{name} cannot be read: {err}", {"field": "subtitles", "hint": hint}) from err
    if not cues:
        raise BadSubtitles(f"{name} holds no cue", {"field": "subtitles", "hint": hint})
    return cues


def _cues_of(packet: "Packet[Any]") -> Iterator[RawCue]:
    if packet.pts is None or not packet.size or not isinstance(packet.stream, SubtitleStream):
        return
    tick_ms = 1000 * Fraction(packet.time_base or Fraction(1, 1000))
    start_ms = round(packet.pts * tick_ms)
    end_ms = start_ms + (round((packet.duration or 0) * tick_ms) or DEFAULT_LENGTH_MS)
    if packet.stream.codec_context.name == "webvtt":  # the decoder would drop the times of words
        text = bytes(packet).decode("utf-8", "replace").replace("\r\n", "\n")
        yield RawCue(start_ms=start_ms, end_ms=end_ms, markup=text, syntax="vtt")
        return
    for markup in _decoded(packet):
        if markup.strip():
            yield RawCue(start_ms=start_ms, end_ms=end_ms, markup=markup, syntax="ass")


def _decoded(packet: "Packet[Any]") -> list[str]:
    assert isinstance(packet.stream, SubtitleStream)
    try:
        shown = packet.stream.decode2(packet)
    except (FFmpegError, ValueError):
        return []
    events = [bytes(rect.ass) for rect in shown or () if isinstance(rect, AssSubtitle)]
    fields = (event.decode("utf-8", "replace").split(",", ASS_FIELDS) for event in events)
    return [found[-1] for found in fields if len(found) > ASS_FIELDS]

"""The tables of one track of an MP4: what is told of each sample, and the same for some of them."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from topclip.media.boxes import Numbers, Runs, Unusual, box, boxes, column, inside, rows, run_table, runs_of, table

LONG_SAMPLES = 20_000
"""Of pictures or sound; a shorter track is left as it is."""
BEHIND_SAMPLES = 64
"""That are there behind a part, however late they come."""
MOST_TICKS = 1 << 30
"""Between two samples: FFmpeg takes no duration of twice as much."""
MOST_STOPS = 10_000
"""Samples that are there for that alone; ten hours by a clock of ten million ticks a second need some 300."""
SHARED = frozenset({b"stsd", b"sgpd", b"cslg", b"free", b"skip"})
"""Boxes that hold nothing by sample."""
REWRITTEN = frozenset({b"stts", b"ctts", b"stsz", b"stsc", b"stco", b"co64", b"stss", b"stps", b"sdtp", b"sbgp"})
SEVERAL = frozenset({b"sgpd", b"sbgp"})
FLAGS = bytes(4)
"""Version and flags of most tables."""
NOTHING = -1
"""Where an edit list shows nothing."""
AS_FAST = 1 << 16


class Track:
    """A track, by the content of its box.

    movie_rate: units of a second in which the file tells how late a track begins. Raises: Unusual.
    """

    def __init__(self, trak: memoryview, movie_rate: int) -> None:
        header = inside(trak, b"mdia", b"mdhd")
        self._rate = int.from_bytes(header[20:24] if header[0] else header[12:16], "big")
        self._tables = list(boxes(inside(trak, b"mdia", b"minf", b"stbl")))
        self._by_kind = dict(self._tables)
        stsz = self._by_kind.get(b"stsz")
        if stsz is None or not self._rate or not movie_rate:
            raise Unusual
        self._n = int.from_bytes(stsz[8:12], "big")
        is_listed = not any(stsz[4:8])  # else all are as large, and FFmpeg keeps of such no more than of chunks
        if is_listed and len(self.sizes) != self._n:
            raise Unusual
        is_media = bytes(inside(trak, b"mdia", b"hdlr")[8:12]) in (b"vide", b"soun")
        self.is_long = is_listed and is_media and self._n > LONG_SAMPLES
        self._first_shown, late = _edit(trak)
        self._shift = self._first_shown - round(late * self._rate / movie_rate)

    @property
    def sizes(self) -> NDArray[np.generic]:
        """Of all samples, bytes."""
        return rows(self._by_kind[b"stsz"], 8, 1)[:, 0]

    @property
    def times(self) -> Numbers:
        """When all samples are decoded, in the track's units, from 0."""
        return self._durations.before(np.arange(self._n))

    def key_s(self, at_s: float) -> float:
        """When the last sample by a time is decoded that decoding can begin with; seconds on the file's clock."""
        key = np.array([self._key_before(at_s)])
        return float(self._durations.before(key)[0] - self._shift) / self._rate

    def kept(self, spans: Iterable[tuple[float, float]], margin_s: float) -> Numbers:
        """The samples of spans, seconds on the file's clock, each from where decoding can begin; of the start, with a margin;
        and enough of the others to tell how late they come. Rising. Raises: Unusual.
        """
        wanted = np.zeros(self._n, bool)
        wanted[: self._durations.reaching(self._first_shown + round(margin_s * self._rate))] = True
        for start_s, end_s in spans:
            end = self._durations.reaching(self._ticks(end_s))
            wanted[self._key_before(start_s) : end + BEHIND_SAMPLES] = True
        chosen = np.flatnonzero(wanted)
        if is_beginning(chosen):
            return chosen
        chosen = np.append(chosen, self._n - 1)
        times = self._durations.before(chosen)
        gaps = np.flatnonzero(np.diff(times) > MOST_TICKS)
        if int(np.sum(np.diff(times)[gaps] // MOST_TICKS)) > MOST_STOPS:
            raise Unusual
        stops = [self._durations.reaching(at) - 1 for g in gaps for at in range(times[g], times[g + 1], MOST_TICKS)]
        return np.unique(np.concatenate([chosen, np.array(stops, np.int64)]))

    def tables_of(self, chosen: Numbers) -> bytes:
        """The content of the box of tables, for some samples. Raises: Unusual."""
        kinds = [kind for kind, _ in self._tables]
        if not {*kinds} <= SHARED | REWRITTEN or any(kinds.count(kind) > 1 for kind in {*kinds} - SEVERAL):
            raise Unusual
        made = [box(kind, data) for kind, data in self._tables if kind in SHARED]
        made += [self._stts(chosen), table(b"stsz", FLAGS + bytes(4), self.sizes[chosen]), *self._places(chosen)]
        for kind, data in self._tables:
            if kind == b"ctts":
                made.append(run_table(kind, data[:4], Runs(data, 4, self._n).at(chosen)))
            elif kind in (b"stss", b"stps"):
                made.append(table(kind, FLAGS, np.flatnonzero(np.isin(chosen, column(data, 4) - 1)) + 1))
            elif kind == b"sdtp":
                made.append(box(kind, bytes(data[:4]) + np.frombuffer(data[4:], np.uint8)[chosen].tobytes()))
            elif kind == b"sbgp":
                at = 12 if data[0] else 8
                made.append(run_table(kind, data[:at], Runs(data, at, self._n, is_short=True).at(chosen)))
        return b"".join(made)

    @cached_property
    def _durations(self) -> Runs:
        durations = Runs(self._by_kind[b"stts"], 4, self._n)
        if durations.largest > MOST_TICKS:
            raise Unusual
        return durations

    def _stts(self, chosen: Numbers) -> bytes:
        """How long samples last: up to the next one. Of the first ones the table stays whole: it tells the rate."""
        if is_beginning(chosen):
            return box(b"stts", self._by_kind[b"stts"])
        last = self._durations.at(chosen[-1:])
        return run_table(b"stts", FLAGS, np.append(np.diff(self._durations.before(chosen)), last))

    def _places(self, chosen: Numbers) -> list[bytes]:
        """Where the samples lie: each is a chunk of its own."""
        is_wide = b"co64" in self._by_kind
        places = rows(self._by_kind[b"co64" if is_wide else b"stco"], 4, 1, ">u8" if is_wide else ">u4")[:, 0]
        firsts, per_chunk, kinds = rows(self._by_kind[b"stsc"], 4, 3).T
        n_chunks = np.diff(firsts.astype(np.int64), append=len(places) + 1)
        if not len(firsts) or firsts[0] != 1 or n_chunks.min() < 0:
            raise Unusual
        ends = np.cumsum(np.repeat(per_chunk.astype(np.uint32), n_chunks), dtype=np.int64)
        if not len(ends) or ends[-1] != self._n:
            raise Unusual
        chunks = np.searchsorted(ends, chosen, "right")
        first_samples = np.where(chunks, ends[chunks - 1], 0)
        upto = np.cumsum(self.sizes, dtype=np.int64)
        before = (np.where(at, upto[at - 1], 0) for at in (chosen, first_samples))
        offsets = places[chunks].astype(np.int64) + next(before) - next(before)
        kinds_of = kinds[np.searchsorted(firsts, chunks + 1, "right") - 1].astype(np.int64)
        starts, _ = runs_of(kinds_of)
        stsc = np.stack([starts + 1, np.ones_like(starts), kinds_of[starts]], axis=1)
        return [table(b"stsc", FLAGS, stsc), table(b"co64", FLAGS, offsets, ">u8")]

    def _ticks(self, at_s: float) -> int:
        """The track's own time."""
        return round(min(max(at_s * self._rate, -(1 << 60)), 1 << 60)) + self._shift

    def _key_before(self, at_s: float) -> int:
        place = max(0, self._durations.reaching(self._ticks(at_s)) - 1)
        if b"stss" not in self._by_kind:
            return place
        keys = column(self._by_kind[b"stss"], 4) - 1
        return int(keys[np.searchsorted(keys, place, "right") - 1]) if len(keys) and keys[0] <= place else 0


def is_beginning(chosen: Numbers) -> bool:
    """Whether samples are the first ones of a track, with none left out."""
    return len(chosen) == int(chosen[-1]) + 1


def _edit(trak: memoryview) -> tuple[int, int]:
    """The track's time that is shown first, in its own units, and how late that is, in the movie's. Raises: Unusual."""
    lists = [data for kind, data in boxes(trak) if kind == b"edts"]
    if not lists:
        return 0, 0
    data = inside(lists[0], b"elst")
    length, at = (">u8", ">i8") if data[0] else (">u4", ">i4")
    edits = np.frombuffer(
        data[8:], [("length", length), ("at", at), ("speed", ">u4")], int.from_bytes(data[4:8], "big")
    )
    is_late = len(edits) > 1 and edits[0]["at"] == NOTHING
    shown = edits[1:] if is_late else edits
    if len(shown) != 1 or shown[0]["at"] < 0 or shown[0]["speed"] != AS_FAST:
        raise Unusual
    return int(shown[0]["at"]), int(edits[0]["length"]) if is_late else 0

"""Boxes of an MP4 in memory, read and written: a size, a kind, a content. ISO/IEC 14496-12 has them."""

import struct
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

HEAD = struct.Struct(">I4s")

Numbers = NDArray[np.int64]


class Unusual(Exception):
    """Boxes are not such as can be rewritten here."""


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each box in a row. Raises: Unusual."""
    at = 0
    while at < len(data):
        if len(data) - at < HEAD.size:
            raise Unusual
        size, kind = HEAD.unpack_from(data, at)
        if size < HEAD.size or at + size > len(data):
            raise Unusual
        yield kind, data[at + HEAD.size : at + size]
        at += size


def inside(data: memoryview, *kinds: bytes) -> memoryview:
    """The content of the only box of a kind, in the only one of another, and so on. Raises: Unusual."""
    for wanted in kinds:
        found = [content for kind, content in boxes(data) if kind == wanted]
        if len(found) != 1:
            raise Unusual
        data = found[0]
    return data


def box(kind: bytes, content: bytes | memoryview) -> bytes:
    """A box as bytes."""
    return HEAD.pack(HEAD.size + len(content), kind) + content


def rows(data: memoryview, at: int, width: int, dtype: str = ">u4") -> NDArray[np.generic]:
    """The rows of a table whose count stands at a place, shape (n, width), in place. Raises: Unusual if it is cut off."""
    if at + 4 > len(data):
        raise Unusual
    n = int.from_bytes(data[at : at + 4], "big")
    end = at + 4 + n * width * np.dtype(dtype).itemsize
    if end > len(data):
        raise Unusual
    return np.frombuffer(data[at + 4 : end], dtype).reshape(n, width)


def column(data: memoryview, at: int, dtype: str = ">u4") -> Numbers:
    """A table of one column. Raises: Unusual."""
    return rows(data, at, 1, dtype)[:, 0].astype(np.int64)


def table(kind: bytes, head: bytes | memoryview, values: NDArray[np.generic], dtype: str = ">u4") -> bytes:
    """A box of a head, a count of rows, and the rows."""
    return box(kind, bytes(head) + len(values).to_bytes(4, "big") + values.astype(dtype).tobytes())


class Runs:
    """A table of runs, (count, value), of n numbers in all, which are not told one by one: an index has millions.

    is_short: whether zeros may be missing at its end. Raises: Unusual if it has not as many.
    """

    def __init__(self, data: memoryview, at: int, n: int, *, is_short: bool = False) -> None:
        counts, values = rows(data, at, 2).T
        ends = np.cumsum(counts, dtype=np.int64)
        last = int(ends[-1]) if len(ends) else 0
        if last > n or (last < n and not is_short):
            raise Unusual
        if last < n:
            ends, values = np.append(ends, n), np.append(values, 0)
        self._values, self._ends = values, ends

    @property
    def largest(self) -> int:
        """The largest number."""
        return int(self._values.max())

    def at(self, places: Numbers) -> Numbers:
        """The numbers at places from 0."""
        found: Numbers = self._values[np.searchsorted(self._ends, places, "right")].astype(np.int64)
        return found

    @cached_property
    def _sums(self) -> Numbers:
        counts = np.diff(self._ends, prepend=0)
        return np.cumsum(counts * self._values)

    def before(self, places: Numbers) -> Numbers:
        """The sums of all numbers before places."""
        runs = np.searchsorted(self._ends, places, "right")
        sums: Numbers = self._sums[runs] - (self._ends[runs] - places) * self._values[runs].astype(np.int64)
        return sums

    def reaching(self, total: int) -> int:
        """How many places there are the numbers before which sum up to no more than a total."""
        if total < 0:
            return 0
        run = int(np.searchsorted(self._sums, total, "right"))
        if run == len(self._sums):
            return int(self._ends[-1])
        first, value = (int(self._ends[run - 1]), int(self._values[run])) if run else (0, int(self._values[0]))
        done = int(self._sums[run - 1]) if run else 0
        return first + (total - done) // value + 1


def runs_of(values: Numbers) -> tuple[Numbers, Numbers]:
    """Where each run of equal values begins, and how long it is."""
    starts = np.flatnonzero(np.append(True, np.diff(values) != 0)) if len(values) else np.zeros(0, np.int64)
    return starts, np.diff(np.append(starts, len(values)))


def run_table(kind: bytes, head: bytes | memoryview, values: Numbers) -> bytes:
    """A box with a table of runs."""
    starts, counts = runs_of(values)
    return table(kind, head, np.stack([counts, values[starts]], axis=1))

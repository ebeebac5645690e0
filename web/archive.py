"""A zip archive that is made while it is sent: members are stored as they are, no file between."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from zipfile import ZIP_STORED, ZipFile, ZipInfo


@dataclass(frozen=True)
class Member:
    """A file of the archive."""

    name: str
    blocks: Iterator[bytes]


class _Sink(io.RawIOBase):
    """Where ZipFile writes to: it cannot seek, so that sizes and checksums go behind each member's content."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # narrower on purpose
        self._blocks.append(bytes(block))
        return len(block)

    def take(self) -> bytes:
        """All that was written since the last time."""
        taken = b"".join(self._blocks)
        self._blocks.clear()
        return taken


def zip_blocks(members: Iterable[Member], time: datetime) -> Iterator[bytes]:
    """The archive's bytes. time: what its members are dated, so that the same clips give the same archive."""
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_STORED) as archive:
        for member in members:
            info = ZipInfo(member.name, time.timetuple()[:6])
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as file:
                for block in member.blocks:
                    file.write(block)
                    yield sink.take()
            yield sink.take()
    yield sink.take()

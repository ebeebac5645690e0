"""Packets of a container, also behind a place that cannot be read."""

from collections.abc import Callable, Iterator
from typing import Any

from av.container import InputContainer
from av.error import BlockingIOError as TryAgain
from av.error import InvalidDataError
from av.packet import Packet
from av.stream import Stream

MAX_FAULTS_IN_A_ROW = 20_000
"""MPEG-TS gives up on each 64 KiB without a sync byte; more than a gigabyte of them is no video any more."""


def _ignore(err: BaseException) -> None:
    """Nobody wants to know."""


def read_packets(
    container: InputContainer, *streams: Stream, on_fault: Callable[[BaseException], None] = _ignore
) -> Iterator["Packet[Any]"]:
    """Packets as the container has them, past damage; the last ones are empty and flush the decoders.

    on_fault(err): called for each fault that reading went on after.
    Raises: FFmpegError or OSError where reading cannot go on.
    """
    n_faults = 0
    while True:
        try:
            for packet in container.demux(*streams):
                n_faults = 0
                yield packet
            return
        except IndexError:
            # A stream that showed only in mid-file is unknown to PyAV, which may trip over it at the end; it comes after
            # ours, whose last packets are out by then.
            return
        except (TryAgain, InvalidDataError) as err:
            n_faults += 1
            if n_faults > MAX_FAULTS_IN_A_ROW:
                raise
            on_fault(err)

"""The thread of all streams, by pairs of sockets: a fault with one job is that job's alone."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from tests.fakes import START, make_status
from tests.waiting import until
from topclip.errors import StorageUnavailable
from topclip.model.job import JobStatus
from web.feed import Feed
from web.follow import Seats
from web.status_cache import StatusCache
from web.streams import Follow, Streams

Follows = Callable[..., Callable[[], bytes]]
GOOD, ODD = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


class Jobs:
    """What is read: jobs, or errors in their place."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.reads: list[str] = []

    def read(self, job_id: str) -> JobStatus:
        self.reads.append(job_id)
        if error := self.errors.get(job_id):
            raise error
        return make_status(job_id, expires_at=START + timedelta(days=36_500))


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def streams(jobs: Jobs) -> Iterator[Streams]:
    found = Streams(StatusCache(jobs.read, lambda: True))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def follow(streams: Streams) -> Iterator[Follows]:
    """follow(job, is_welcome) -> what comes next at the other end of a new stream, empty at its end; it has three seats."""
    seats = Seats(3)
    with ExitStack() as stack:

        def begin(job_id: str, is_welcome: Callable[[], bool] = lambda: True) -> Callable[[], bytes]:
            mine, theirs = socket.socketpair()
            stack.enter_context(mine).settimeout(10)
            streams.add(theirs, Follow(job_id, Feed(None), seats.take(), is_welcome), is_chunked=True)
            return lambda: mine.recv(100_000)

        yield begin


def test_a_store_that_fails_ends_no_stream_and_the_job_is_told_when_it_is_back(follow: Follows, jobs: Jobs) -> None:
    jobs.errors[ODD] = StorageUnavailable("no disk")
    odd = follow(ODD)
    until(lambda: ODD in jobs.reads, 10)
    assert b"RUNNING" in follow(GOOD)()
    jobs.errors.clear()
    assert b"RUNNING" in odd()


def test_a_fault_that_nobody_foresaw_ends_the_streams_of_its_job_and_no_other(
    follow: Follows, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    good = follow(GOOD)
    assert b"RUNNING" in good()
    jobs.errors[ODD] = KeyError("a mistake of ours")
    with caplog.at_level(logging.ERROR):
        odd = follow(ODD)
        assert [odd(), odd()] == [b"0\r\n\r\n", b""]
    assert ODD in caplog.text

    def odd_key() -> bool:
        raise LookupError("a key that cannot be looked up")

    unlucky = follow(GOOD, odd_key)
    assert [unlucky(), unlucky()] == [b"0\r\n\r\n", b""]
    jobs.errors.clear()
    for job in (ODD, GOOD):  # their seats are free
        assert b"RUNNING" in follow(job)()

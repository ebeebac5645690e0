"""What becomes of a task's errors."""

import errno

import pytest

from topclip.errors import StorageUnavailable, TopClipError
from workers.base import JITTER, LONGEST_PAUSE_S, RETRIES, _as_ours, _tries, pause_s


def test_pauses_double_and_differ() -> None:
    for n in range(RETRIES):
        pauses = {pause_s(n) for _ in range(50)}
        assert len(pauses) > 10
        assert 2**n * (1 - JITTER) <= min(pauses) <= max(pauses) <= 2**n * (1 + JITTER)


def test_a_store_that_is_away_is_waited_for_as_long_as_one_may_be_mended() -> None:
    error = StorageUnavailable("away")
    assert sum(pause_s(n) for n in range(_tries(error))) > 300
    assert max(pause_s(n) for n in range(_tries(error))) <= LONGEST_PAUSE_S * (1 + JITTER)
    assert _tries(TopClipError("other")) == RETRIES


@pytest.mark.parametrize(
    ("err", "code", "retryable"),
    [
        (OSError(errno.EIO, "Input/output error", "/store/x"), "STORAGE_UNAVAILABLE", True),
        (OSError(errno.ESTALE, "Stale file handle", "/store/x"), "STORAGE_UNAVAILABLE", True),
        (OSError(errno.EROFS, "Read-only file system", "/store/x"), "STORAGE_UNAVAILABLE", True),
        (OSError(errno.ENOSPC, "No space left on device", "/store/x"), "STORAGE_FULL", False),
        (MemoryError(), "MEDIA_LIMIT", False),
        (ValueError("a bug"), "INTERNAL", False),
        (OSError(errno.EBADF, "Bad file descriptor"), "INTERNAL", False),
    ],
)
def test_errors_of_the_disk_and_of_memory_are_told_from_bugs(err: Exception, code: str, *, retryable: bool) -> None:
    ours = _as_ours(err)
    assert isinstance(ours, TopClipError)
    assert (ours.code, ours.retryable) == (code, retryable)

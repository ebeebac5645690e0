"""The thread that reads what changed, by statuses that cannot be read."""

import pytest

from tests.fakes import START, make_status
from tests.waiting import until
from topclip.errors import StorageUnavailable
from topclip.model.job import JobEvent, JobStatus
from web.refresher import Refresher
from web.status_cache import StatusCache

JOB = "11111111-1111-1111-1111-111111111111"


@pytest.mark.parametrize("error", [KeyError("a mistake of ours"), StorageUnavailable("no disk"), ValueError("odd")])
def test_it_goes_on_after_a_status_that_cannot_be_read(error: Exception) -> None:
    now = make_status(JOB, expires_at=START.replace(year=2100))
    faults = [error]
    reads: list[int] = []

    def read(job_id: str) -> JobStatus:
        reads.append(now.revision)
        if len(reads) > 1 and faults:
            raise faults.pop()
        return now

    cache = StatusCache(read, lambda: True)
    refresher = Refresher(cache, lambda: True)
    refresher.start()
    try:
        cache.get(JOB)
        now = now.model_copy(update={"revision": 2})
        cache.on_event(JobEvent(id=JOB, epoch=1, revision=2))
        refresher.wake()
        until(lambda: len(reads) == 3, 10)
        until(lambda: not cache.has_changed, 10)
    finally:
        refresher.stop()
    assert cache.get(JOB).status.revision == 2

"""Workers whose clock is hours off, as by a wrong time zone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import containers, nothing_unacknowledged
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
HOURS = 3600
CLOCK = """
import datetime, os, time

off, now, now_ns, real = float(os.environ["OFF_S"]), time.time, time.time_ns, datetime.datetime


class Kind(type(real)):
    def __instancecheck__(cls, other):
        return isinstance(other, real)


class Shifted(real, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return real.fromtimestamp(now() + off, tz)


time.time, time.time_ns, datetime.datetime = lambda: now() + off, lambda: now_ns() + int(off * 1e9), Shifted
"""


@pytest.fixture
def n_workers() -> int:
    return 2


@pytest.fixture
def worker_env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[int, dict[str, str]]:
    n_wrong, hours = request.param
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    return {n_wrong: {"PYTHONPATH": str(tmp_path / "clock"), "OFF_S": str(hours * HOURS)}}


@pytest.mark.parametrize("worker_env", [(0, 7), (1, -7)], ids=["it was ahead", "another is behind"], indirect=True)
def test_what_a_worker_has_tried_another_tries_again_in_time(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    settings: Settings,
    redis_node: RedisContainer,
) -> None:
    first, other = containers(celery_setup)
    other.kill()
    staging, aside = settings.store_dir / ".staging", settings.store_dir / "aside"
    job = submit(one_chunk, mode="plan")
    staging.rename(aside)
    until(lambda: "will be tried again" in first.logs(), 30, first.logs)
    first.kill()
    aside.rename(staging)
    other.restart()
    status = finished(job, 60)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1), status.error
    until(lambda: nothing_unacknowledged(redis_node), 15)

"""What counts against a part: its deaths, and nothing else, whatever its neighbours do."""

from typing import Any
from uuid import uuid4

import pytest

from tests.workers.conftest import JOB, P
from topclip.errors import Killed
from workers import keys
from workers.lease import ACK, HAND_BACK, LATE_HAND_BACK, run_script
from workers.pulse import STARTS_ALLOWED, Pulse, Run
from workers.request import KILLS_ALLOWED
from workers.scripts import Scripts

pytestmark = pytest.mark.over_containers


@pytest.fixture
def deliver(scripts: Scripts, job: str, redis: Any) -> Any:
    """deliver(part) -> a run of it, under a lease of its own."""

    def delivered(part: str) -> Pulse:
        lease = uuid4().hex
        redis.hset(f"{P}unacked_lease", f"tag of {part}", lease)
        return Pulse(scripts, Run(JOB, 1, part, f"{JOB}.1.{part}", f"tag of {part}", lease))

    return delivered


def test_a_part_whose_workers_die_is_given_up(deliver: Any) -> None:
    for n in range(STARTS_ALLOWED):
        deliver("analyse/0").start(None)
        neighbour = deliver(f"analyse/{n + 1}")
        neighbour.start(None)
        neighbour.finish()  # does not clear what counts against the other
    poison = deliver("analyse/0")
    with pytest.raises(Killed) as caught:
        poison.start(None)
    assert caught.value.hint
    poison.finish()
    for _ in range(STARTS_ALLOWED):
        deliver("analyse/0").start(None)  # begun anew: its own end has cleared it


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("script", [ACK, HAND_BACK, LATE_HAND_BACK])
def test_a_delivery_that_its_worker_speaks_of_is_no_death(deliver: Any, redis: Any, script: str, is_lost: bool) -> None:
    """Also if the run could tell nothing, Redis being away, or has lost its lease, its worker having been frozen."""
    for _ in range(STARTS_ALLOWED * 2):
        unlucky = deliver("render/1")
        unlucky.start(None)
        if is_lost:
            deliver("render/1")
        run_script(redis, P, script, unlucky.run.tag, unlucky.run.lease, keys.starts(P, JOB), "return")
    assert not redis.exists(keys.starts(P, JOB))


def test_a_start_that_is_told_twice_counts_once(deliver: Any, redis: Any) -> None:
    run = deliver("render/1")
    for _ in range(STARTS_ALLOWED * 2):
        run.start(None)  # its first answer was lost
    assert redis.hgetall(keys.starts(P, JOB)) == {run.run.lease: "render/1"}


def test_deaths_of_a_parts_process_and_of_its_workers_add_up(scripts: Scripts, deliver: Any) -> None:
    def killed(part: str) -> int:
        pulse = deliver(part)
        pulse.start(None)
        found: int = scripts("killed", JOB, 1, pulse.run.tag, pulse.run.lease, part)
        return found

    assert killed("analyse/0") == 1
    deliver("analyse/0").start(None)  # and its worker dies
    neighbour = deliver("analyse/1")
    neighbour.start(None)
    neighbour.finish()
    assert killed("analyse/0") == KILLS_ALLOWED
    assert killed("analyse/1") == 1

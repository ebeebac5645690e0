"""What counts against a part: its deaths, and nothing else, whatever its neighbours do."""

from functools import partial
from typing import Any

import pytest

from tests.workers.conftest import JOB, P
from tests.workers.test_scripts import finish, start
from topclip.errors import JobSuperseded, Killed
from workers.pulse import STARTS_ALLOWED, Pulse, Run
from workers.request import KILLS_ALLOWED
from workers.scripts import Scripts


def run_of(part: str, epoch: int = 1, tag: str = "", lease: str = "") -> Run:
    return Run(JOB, epoch, part, f"{JOB}.{epoch}.{part}", tag, lease)


def test_a_part_whose_workers_die_is_given_up_but_not_one_that_is_merely_unlucky(scripts: Scripts, job: str) -> None:
    poison = Pulse(scripts, run_of("analyse/0"))
    for n in range(STARTS_ALLOWED):
        poison.start(None)
        neighbour = f"analyse/{n + 1}"
        start(scripts, neighbour)
        finish(scripts, neighbour)  # does not clear what counts against the other
    with pytest.raises(Killed) as caught:
        poison.start(None)
    assert caught.value.hint
    poison.finish()
    for _ in range(STARTS_ALLOWED):
        poison.start(None)  # begun anew: its own end has cleared it
    for _ in range(STARTS_ALLOWED * 2):  # handed back each time: a drain, or Redis away
        unlucky = Pulse(scripts, run_of("render/1"))
        unlucky.start(None)
        unlucky.finish("published")
        unlucky.start(None)
        scripts("hand_back", JOB, "render/1")


def test_deaths_of_a_parts_process_and_of_its_workers_add_up(scripts: Scripts, job: str) -> None:
    start(scripts, "analyse/0")
    assert scripts("killed", job, 1, "", "", "analyse/0") == 1
    start(scripts, "analyse/0")  # and its worker dies
    start(scripts, "analyse/0")
    start(scripts, "analyse/1")
    finish(scripts, "analyse/1")
    assert scripts("killed", job, 1, "", "", "analyse/0") == KILLS_ALLOWED
    assert start(scripts, "analyse/1") == "OK"
    assert scripts("killed", job, 1, "", "", "analyse/1") == 1


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_run_that_comes_back_without_its_lease_has_not_died(
    scripts: Scripts, job: str, redis: Any, is_asked: bool
) -> None:
    for _ in range(STARTS_ALLOWED * 2):
        redis.hset(f"{P}unacked_lease", "tag", "mine")
        run = Pulse(scripts, run_of("analyse/0", tag="tag", lease="mine"))
        run.start(None)
        redis.hset(f"{P}unacked_lease", "tag", "another's")
        says = partial(run, 1.0, 2.0) if is_asked else run.finish
        with pytest.raises(JobSuperseded):
            says()
    assert int(redis.hget(f"{P}job:{job}:starts", "analyse/0")) == 0

"""Redis' clock is set back, as on a machine that comes up with a wrong one: what was written before lies ahead of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S
from tests.integration.faults import CLIP, P, containers, frozen_ffmpeg, nothing_unacknowledged
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.model.job import JobState, JobStatus
from workers import names

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
SET_BACK_S = 600
LEADER = P + "reconciler-leader"
# As if the clock had gone back: every time that was written, and the lead's end, move ahead of it in one step.
SET_BACK = """
local P, s = ARGV[1], tonumber(ARGV[2])
for _, index in ipairs({'unacked_index', 'workers'}) do
  for _, member in ipairs(redis.call('ZRANGE', P..index, 0, -1)) do redis.call('ZINCRBY', P..index, s, member) end
end
for _, field in ipairs({'at', 'sweep_from'}) do
  if redis.call('HEXISTS', P..'keepers', field) == 1 then redis.call('HINCRBYFLOAT', P..'keepers', field, s) end
end
local ttl = redis.call('TTL', P..'reconciler-leader')
if ttl > 0 then redis.call('EXPIRE', P..'reconciler-leader', ttl + s) end
redis.call('HINCRBYFLOAT', P..'job:'..ARGV[3], 'changed_at', s)
"""


@pytest.fixture
def n_workers() -> int:
    return 2


def test_a_dead_workers_task_and_its_place_do_not_wait_for_the_clock(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, redis_node: RedisContainer
) -> None:
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    dead = next(node for node in containers(celery_setup) if ffmpeg in node.children())
    dead.kill()
    redis_node.client.eval(SET_BACK, 0, P, SET_BACK_S, job_id)
    status = finished(job_id, 40)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)  # delivered again, not started again
    until(lambda: nothing_unacknowledged(redis_node), 10)
    until(lambda: redis_node.client.zcard(P + "workers") == 1, 20)


def test_a_dead_leaders_lead_and_a_lost_job_do_not_wait_for_the_clock(
    celery_setup: CeleryTestSetup, one_chunk: Path, submit: Submit, finished: Finished, redis_node: RedisContainer
) -> None:
    redis = redis_node.client
    leader = until(lambda: redis.get(LEADER), 20)
    dead, living = sorted(containers(celery_setup), key=lambda node: not leader.startswith(node.name))
    dead.kill()
    living.kill("SIGSTOP")
    for line in redis.client_list():
        if line["cmd"] == "brpop":
            redis.client_kill_filter(addr=line["addr"])  # one that has just gone is no error
    job_id = submit(one_chunk, mode="ranges", ranges=[[1.0, 4.0]])
    assert redis.delete(*(P + queue for queue in names.QUEUES)) == 1  # its message
    redis.eval(SET_BACK, 0, P, SET_BACK_S, job_id)
    assert redis.ttl(LEADER) > SET_BACK_S - LEASE_S
    living.kill("SIGCONT")
    status = finished(job_id, 60)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 2)

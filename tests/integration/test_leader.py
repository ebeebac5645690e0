"""The one worker that starts lost jobs again."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery

from tests.nodes import RedisContainer
from topclip.config import Settings
from topclip.model.request import Change, ClipOptions
from topclip.storage.base import ArtifactStore, cancelled_key, change_key
from workers.client import JobClient
from workers.reconciler import Rounds

Submit = Callable[..., str]


@pytest.fixture
def unchanged(one_chunk: Path, submit: Submit, redis_node: RedisContainer) -> str:
    """A job whose record has not changed for long; there is no worker."""
    job_id = submit(one_chunk, mode="ranges", ranges=[[1.0, 4.0]])
    redis_node.client.hincrbyfloat(f"topclip:job:{job_id}", "changed_at", -600)
    return job_id


def test_a_leader_that_stood_still_in_mid_round_ends_no_attempt_that_another_began(
    app: Celery, settings: Settings, unchanged: str, client: JobClient, redis_node: RedisContainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    redis_node.client.delete("topclip:control")  # its message is lost
    still, other = Rounds(app, settings), Rounds(app, settings)
    assert still.start_again() == other.start_again() == []  # suspect for one round
    search = still._messages

    def stand_still() -> list[tuple[str, int]]:
        found = list(search())
        assert other.start_again() == [unchanged]
        return found

    monkeypatch.setattr(still, "_messages", stand_still)
    assert still.start_again() == []
    assert client.read(unchanged).attempts == 2


def test_a_message_that_one_search_misses_is_not_lost(
    app: Celery, settings: Settings, unchanged: str, client: JobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It moves from one list to the other as they are read."""
    leader = Rounds(app, settings)
    search = leader._messages
    for is_missed in (False, True, False):
        monkeypatch.setattr(leader, "_messages", (lambda: []) if is_missed else search)
        assert leader.start_again() == []
    assert client.read(unchanged).attempts == 1


def test_a_record_that_is_none_holds_up_no_other_job(
    app: Celery, settings: Settings, one_chunk: Path, submit: Submit, redis_node: RedisContainer
) -> None:
    redis = redis_node.client
    odd, lost, old = str(uuid4()), submit(one_chunk), submit(one_chunk)
    redis.set(f"topclip:job:{odd}", "not a hash")
    redis.zadd("topclip:state:RUNNING", {odd: 0})
    redis.zadd("topclip:expiry", {odd: 0, old: 1})
    redis.delete("topclip:control")
    redis.hincrbyfloat(f"topclip:job:{lost}", "changed_at", -600)
    leader = Rounds(app, settings)
    assert leader.start_again() == []
    assert leader.start_again() == [lost]
    leader.clear_away()
    assert redis.exists(f"topclip:gone:{old}")


def test_a_change_of_a_cancelled_job_that_the_leader_makes_is_not_taken_for_cancelled(
    app: Celery, settings: Settings, one_chunk: Path, submit: Submit, client: JobClient, store: ArtifactStore
) -> None:
    job_id = submit(one_chunk)
    client.cancel(job_id)
    assert store.exists(cancelled_key(job_id))
    change = Change(options=ClipOptions(count=1))
    assert store.put_bytes(change_key(job_id, 1), change.model_dump_json().encode())  # and the web process died
    Rounds(app, settings).bring_back()
    assert client.read(job_id).epoch == 2
    assert not store.exists(cancelled_key(job_id))

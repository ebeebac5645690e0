"""The threads that live as long as their process: a round that fails of whatever it is is followed by the next one."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import NoReturn
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import StorageUnavailable, TopClipError
from topclip.model.job import JobEvent
from workers import callbacks, keeper, keys, reconciler
from workers.watch import Watch

FAULTS = (
    KeyError("a"), AttributeError("b"), RuntimeError("c"), TopClipError("d"), StorageUnavailable("e"), IndexError("f"),
    ResponseError("g"), OperationalError("h"), ZeroDivisionError("i"), MemoryError("j"), OSError("k"),
)  # fmt: skip


class Over(BaseException):
    """Ends a thread that would go on for ever."""


def keep(monkeypatch: pytest.MonkeyPatch, look: Callable[..., NoReturn]) -> None:
    monkeypatch.setattr(keeper.Keeper, "tick", look)
    keeper.Keeper(SimpleNamespace())._keep()


def look_for_callbacks(monkeypatch: pytest.MonkeyPatch, look: Callable[..., NoReturn]) -> None:
    monkeypatch.setattr(callbacks, "publish_due", look)
    callbacks._look(SimpleNamespace())


def reconcile(monkeypatch: pytest.MonkeyPatch, look: Callable[..., NoReturn]) -> None:
    monkeypatch.setattr(reconciler, "Rounds", lambda *_: SimpleNamespace(lead=look))
    found = reconciler.Reconciler(SimpleNamespace())
    found._name = "node"
    found._run(SimpleNamespace())


@pytest.mark.parametrize("thread", [keep, look_for_callbacks, reconcile])
def test_a_worker_goes_on_whatever_a_round_dies_of(
    thread: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic)
    for module in (keeper, callbacks, reconciler):
        monkeypatch.setattr(module, "time", clock)
    left = [*FAULTS, Over()]

    def look(*_: object) -> NoReturn:
        raise left.pop(0)

    with pytest.raises(Over):
        thread(monkeypatch, look)
    assert left == []


def test_the_watch_goes_on_after_a_fault_of_whoever_it_tells(redis_node: RedisContainer) -> None:
    settings = Settings(redis_url=redis_node.url)
    heard: list[int] = []
    gaps: list[float] = []

    def on_event(event: JobEvent) -> None:
        heard.append(event.revision)
        if event.revision == 1:
            raise KeyError("a mistake of ours")

    def tell(revision: int) -> None:
        event = JobEvent(id=str(uuid4()), epoch=1, revision=revision)
        redis_node.client.publish(settings.key_prefix + keys.EVENTS, event.model_dump_json())

    watch = Watch(settings, on_event, lambda: gaps.append(time.monotonic()))
    watch.start()
    try:
        until(lambda: gaps, 10)
        tell(1)
        until(lambda: len(gaps) == 2, 10)  # what came meanwhile has to be read
        tell(2)
        until(lambda: heard == [1, 2], 10)
        until(lambda: watch.is_up, 10)
    finally:
        watch.stop()


def test_each_reason_of_an_outage_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that comes back with a certificate that has expired was refused before, while it was started anew."""
    watch = Watch(Settings(), lambda _: None, lambda: None)
    for reason in ("Connection refused", "Connection refused", "certificate has expired", "Connection refused"):
        watch._lost(OSError(reason))
    assert [record.getMessage().count("certificate") for record in caplog.records] == [0, 1]
    watch._found()
    watch._lost(OSError("Connection refused"))
    assert "Connection refused" in caplog.records[-1].getMessage()


def test_a_step_of_the_reconciler_that_fails_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def step(name: str) -> Callable[[], None]:
        def take() -> None:
            taken.append(name)
            raise Over if name == "clear_staging" else ResponseError(name)

        return take

    steps = ("cancel_again", "bring_back", "start_again", "clear_away", "keep_budget", "clear_staging")
    rounds = SimpleNamespace(lead=lambda _: True, **{name: step(name) for name in steps})
    monkeypatch.setattr(reconciler, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(reconciler, "Rounds", lambda *_: rounds)
    found = reconciler.Reconciler(SimpleNamespace())
    found._name = "node"
    with pytest.raises(Over):
        found._run(SimpleNamespace())
    assert taken == [*steps]

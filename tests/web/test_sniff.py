"""The first look at a source: right, in time, and never the end of the service."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until
from tests.web.conftest import refuses
from topclip.config import Settings
from topclip.errors import SourceTooLarge
from web.sniff import Sniffer


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_text("hello")
    return path


@pytest.fixture
def start(fake: Path) -> Iterator[Callable[..., Sniffer]]:
    """start(**settings) -> a sniffer whose child has loaded."""
    started: list[Sniffer] = []

    def start(**settings: Any) -> Sniffer:
        sniffer = Sniffer(Settings(**settings))
        started.append(sniffer)
        sniffer.start()
        until(lambda: refuses(sniffer, fake), 30)
        return sniffer

    yield start
    for sniffer in started:
        sniffer.stop()


@pytest.fixture
def sniffer(start: Callable[..., Sniffer]) -> Sniffer:
    return start()


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "topclip.media.probe" in " ".join(p.cmdline())]


def test_it_refuses_what_is_no_video_and_takes_what_is_one(sniffer: Sniffer, video: Path, fake: Path) -> None:
    assert refuses(sniffer, fake)
    assert not refuses(sniffer, video)


@pytest.mark.parametrize("limit", [{"max_duration_s": 1.0}, {"max_pixels": 160 * 119}])
def test_it_refuses_what_is_too_long_or_too_large(
    start: Callable[..., Sniffer], video: Path, limit: dict[str, Any]
) -> None:
    with pytest.raises(SourceTooLarge) as caught:
        start(**limit).refuse_unfit(video, "source")
    assert caught.value.detail["field"] == "source"


def test_one_child_looks_at_many_files(sniffer: Sniffer, video: Path, fake: Path) -> None:
    (before,) = children()
    for _ in range(5):
        assert not refuses(sniffer, video)
        assert refuses(sniffer, fake)
    assert children() == [before]


def test_nobody_waits_for_a_child_that_still_loads(monkeypatch: pytest.MonkeyPatch, fake: Path) -> None:
    monkeypatch.setattr("web.sniff.CHILD", "import time  # topclip.media.probe\ntime.sleep(100)")
    sniffer = Sniffer(Settings())
    sniffer.start()
    (before,) = children()
    assert not refuses(sniffer, fake)  # nobody could tell: it is taken
    assert children() == [before]  # and goes on loading
    sniffer.stop()
    assert not before.is_running()


def test_a_child_that_died_is_replaced(sniffer: Sniffer, fake: Path) -> None:
    (child,) = children()
    child.kill()
    until(lambda: child.status() == psutil.STATUS_ZOMBIE, 20)
    assert not refuses(sniffer, fake)
    until(lambda: refuses(sniffer, fake), 30)


def test_a_child_that_does_not_answer_keeps_nobody_waiting_and_is_replaced(sniffer: Sniffer, video: Path) -> None:
    (child,) = children()
    child.suspend()
    assert not refuses(sniffer, video)
    assert not child.is_running()


def test_many_at_once_are_all_answered(sniffer: Sniffer, video: Path) -> None:
    threads = [threading.Thread(target=sniffer.refuse_unfit, args=(video, "file")) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert len(children()) <= 2

"""The first look at a source: right, in time, and never the end of the service."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import until
from topclip.errors import UnsupportedMedia
from web.sniff import Sniffer


@pytest.fixture
def sniffer() -> Iterator[Sniffer]:
    found = Sniffer()
    found.start()
    yield found
    found.stop()


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "topclip.media.probe" in " ".join(p.cmdline())]


def test_it_refuses_what_is_no_video_and_names_the_field(sniffer: Sniffer, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("hello")
    with pytest.raises(UnsupportedMedia) as caught:
        sniffer.refuse_unreadable(tmp_path / "a.mp4", "file")
    assert caught.value.detail["field"] == "file"


def test_one_child_looks_at_many_files(sniffer: Sniffer, video: Path, tmp_path: Path) -> None:
    (before,) = children()
    (tmp_path / "a.mp4").write_text("hello")
    for _ in range(5):
        sniffer.refuse_unreadable(video, "file")
        with pytest.raises(UnsupportedMedia):
            sniffer.refuse_unreadable(tmp_path / "a.mp4", "file")
    assert children() == [before]


def test_a_child_that_died_is_replaced(sniffer: Sniffer, video: Path, tmp_path: Path) -> None:
    (child,) = children()
    child.kill()
    until(lambda: child.status() == psutil.STATUS_ZOMBIE, 5)
    sniffer.refuse_unreadable(video, "file")  # nobody could tell: it is taken
    sniffer.start()
    (tmp_path / "a.mp4").write_text("hello")
    with pytest.raises(UnsupportedMedia):
        sniffer.refuse_unreadable(tmp_path / "a.mp4", "file")


def test_a_child_that_does_not_answer_keeps_nobody_waiting_and_is_replaced(sniffer: Sniffer, video: Path) -> None:
    (child,) = children()
    child.suspend()
    sniffer.refuse_unreadable(video, "file")
    assert not child.is_running()


def test_many_at_once_are_all_answered(sniffer: Sniffer, video: Path) -> None:
    threads = [threading.Thread(target=sniffer.refuse_unreadable, args=(video, "file")) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert len(children()) <= 2

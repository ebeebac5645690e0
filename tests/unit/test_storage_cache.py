"""Copies of objects on a machine's disk, and what a process that was killed leaves of them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from topclip.errors import JobCancelled, StorageUnavailable
from topclip.storage.base import no_tick
from topclip.storage.cache import FileCache

MIB = 1 << 20
FREEZES = """
import signal, sys
from pathlib import Path
from topclip.storage.base import no_tick
from topclip.storage.cache import FileCache

def fetch(path):
    path.write_bytes(b"x" * (1 << 20))
    signal.pause()

with FileCache(Path(sys.argv[1]), 10 << 20).use(sys.argv[2], 1 << 20, "", fetch, no_tick):
    pass
"""


USES = """
import signal, sys
from pathlib import Path
from topclip.storage.base import no_tick
from topclip.storage.cache import FileCache

with FileCache(Path(sys.argv[1]), 10 << 20).use(sys.argv[2], 1 << 20, "", sys.exit, no_tick):
    print(flush=True)
    signal.pause()
"""


def fetch_mib(path: Path) -> None:
    with path.open("xb") as file:
        file.write(b"x" * MIB)


def use(cache: FileCache, name: str) -> None:
    with cache.use(name, MIB, ".mp4", fetch_mib, no_tick) as path:
        assert path.stat().st_size == MIB


def left(folder: Path) -> list[str]:
    """Kinds of what lies there and takes room."""
    return sorted(path.name.partition("-")[0] for path in folder.iterdir() if path.stat().st_size)


def fetch_and_freeze(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """A process that has a part of one MiB and goes no further."""
    process = subprocess.Popen([sys.executable, "-c", FREEZES, folder, name])
    until(lambda: any(part.stat().st_size == MIB for part in folder.glob("part-*")), 20, "no part came")
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_the_next_who_fetches_removes_what_killed_processes_left(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 10 * MIB)
    for _ in range(2):
        kill(fetch_and_freeze(tmp_path, "k"))
        assert left(tmp_path) == ["part"]
    use(cache, "k")
    assert left(tmp_path) == ["copy"]


def test_the_sweep_takes_a_part_at_once_but_not_from_him_who_writes_it(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 10 * MIB)
    use(cache, "other")
    process = fetch_and_freeze(tmp_path, "k")
    try:
        cache.sweep(3600)
        assert left(tmp_path) == ["copy", "part"]
    finally:
        kill(process)
    assert cache.sweep(3600) == 1
    assert left(tmp_path) == ["copy"]


def test_a_lock_that_is_held_is_not_swept_however_old(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 10 * MIB)
    process = fetch_and_freeze(tmp_path, "k")
    try:
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        assert cache.sweep(3600) == 0
        assert len(list(tmp_path.glob("lock-*"))) == 1
    finally:
        kill(process)
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    cache.sweep(3600)
    cache.sweep(-1)
    assert list(tmp_path.iterdir()) == []


def test_what_others_fetch_now_is_within_the_room_too(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 2 * MIB)
    use(cache, "old")
    os.utime(next(tmp_path.glob("copy-*")), (time.time() - 100,) * 2)
    process = fetch_and_freeze(tmp_path, "k")
    try:
        use(cache, "new")
        assert left(tmp_path) == ["copy", "part"]
    finally:
        kill(process)


def test_who_waits_for_anothers_fetch_can_be_stopped(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1 << 20)
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> None:
        begun.set()
        go_on.wait(20)
        path.write_bytes(b"x")

    def stop() -> None:
        raise JobCancelled("stop")

    def first() -> None:
        with cache.use("k", 1, "", slow, lambda: None):
            pass

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(20)
    with pytest.raises(JobCancelled), cache.use("k", 1, "", slow, stop):
        pass
    go_on.set()
    thread.join()
    with cache.use("k", 1, "", pytest.fail, lambda: None) as path:
        assert path.read_bytes() == b"x"


def test_a_copy_that_is_dropped_as_soon_as_it_has_its_name_is_its_users_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_and_lose(path: Path, target: Path) -> None:
        monkeypatch.setattr(Path, "rename", rename)
        path.rename(target)
        use(FileCache(tmp_path, 1), "other")

    monkeypatch.setattr(Path, "rename", rename_and_lose)
    use(FileCache(tmp_path, MIB), "k")
    assert left(tmp_path) == ["copy"]


def test_a_copy_that_is_dropped_as_soon_as_it_was_linked_need_not_be_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(tmp_path, MIB)
    use(cache, "k")
    link = os.link

    def link_and_lose(source: Path, target: Path) -> None:
        link(source, target)
        source.unlink()

    monkeypatch.setattr(os, "link", link_and_lose)
    with cache.use("k", MIB, "", pytest.fail, no_tick) as path:
        assert path.stat().st_size == MIB


def test_room_is_made_though_a_copy_goes_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FileCache(tmp_path, MIB)
    use(cache, "old")
    glob = Path.glob

    def glob_too_early(folder: Path, pattern: str) -> Iterator[Path]:
        for path in list(glob(folder, pattern)):
            path.unlink()
            yield path

    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", glob_too_early)
        patch.setattr(Path, "exists", lambda path: True)  # it was there when one asked
        use(cache, "new")
    assert left(tmp_path) == ["copy"]


def test_a_folder_of_copies_that_goes_is_no_lost_artifact(tmp_path: Path) -> None:
    def lose(path: Path) -> None:
        for other in tmp_path.iterdir():
            other.unlink()

    with pytest.raises(StorageUnavailable), FileCache(tmp_path, MIB).use("k", MIB, "", lose, no_tick):
        pass


def test_the_sweep_takes_no_link_of_a_file_in_use_however_old_and_at_once_what_killed_users_left(
    tmp_path: Path,
) -> None:
    cache = FileCache(tmp_path, 10 * MIB)
    use(cache, "k")
    with subprocess.Popen([sys.executable, "-c", USES, tmp_path, "k"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        with cache.use("k", MIB, "", pytest.fail, no_tick) as path:
            kill(process)
            for found in tmp_path.iterdir():
                os.utime(found, (0, 0))
            cache.sweep(3600)
            assert left(tmp_path) == ["use", "use"]
            assert path.stat().st_size == MIB
    assert left(tmp_path) == ["use"]
    cache.sweep(3600)
    assert left(tmp_path) == []

"""What is particular about a store in a folder; test_storage.py has what all do."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.nodes import program
from topclip.errors import ArtifactMissing, ConfigError, EncodeError, NotRemoved, StorageFull, StorageUnavailable
from topclip.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_it_publishes_a_staged_file_without_copying_it(store: LocalStore) -> None:
    path = store.staging() / "x"
    path.write_bytes(b"x")
    inode = path.stat().st_ino
    store.put_file("a/b", path)
    assert (store.root / "a/b").stat().st_ino == inode
    assert list(store.staging().iterdir()) == []


def test_a_store_whose_folder_was_unmounted_is_not_an_empty_one(store: LocalStore) -> None:
    store.put_bytes("jobs/a/1", b"x")
    store.root.rename(store.root.with_name("aside"))
    store.root.mkdir()
    for ask in (store.exists, store.get_bytes, store.size, store.list, store.folders, store.delete):
        with pytest.raises(StorageUnavailable):
            ask("jobs/a")
    for look in (store.staged, store.free_bytes, lambda: store.sweep(0), lambda: store.put_bytes("k", b"x")):
        with pytest.raises(StorageUnavailable):
            look()
    assert list(store.root.iterdir()) == []


READ_ONLY = """
import sys
from pathlib import Path
from topclip.errors import StorageUnavailable
from topclip.storage.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
of_one = (store.refuse_kept, store.delete, lambda folder: store.put_bytes(folder + "/2", b"x"))
for ask in (store.free_bytes, *(lambda act=act: act("jobs/a") for act in of_one)):
    try:
        ask()
    except StorageUnavailable as err:
        print(err.message)
"""


def test_a_disk_that_can_only_be_read_says_so(store: LocalStore) -> None:
    store.put_bytes("jobs/a/1", b"x")
    argv = [program("unshare"), "--user", "--map-root-user", "--mount", program("sh"), "-c"]
    argv += ['mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', str(store.root)]  # for it alone
    argv += [sys.executable, "-c", READ_ONLY, str(store.root)]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(told) == 4
    assert all("Read-only file system" in line for line in told)
    assert store.get_bytes("jobs/a/1") == b"x"


def test_what_is_not_ours_to_remove_stays_and_is_told(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1", "2"):
        store.put_bytes(f"jobs/a/{name}", b"x")
    unlink = os.unlink

    def refuse(path: str) -> None:
        if path.endswith("/1"):
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(NotRemoved, match="Permission denied"):
        store.delete("jobs/a")
    assert store.list("jobs/a") == ["jobs/a/1"]
    assert f"{store.root / 'jobs/a/1'} cannot be removed: Permission denied" in caplog.text


def test_what_could_not_be_removed_is_told_before(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_bytes("jobs/a/clips/1", b"x")
    store.refuse_kept("jobs/a")
    store.refuse_kept("jobs/none")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("/clips"))
    with pytest.raises(NotRemoved):
        store.refuse_kept("jobs/a")


def test_a_folder_that_cannot_be_looked_into_is_told_too(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_bytes("jobs/a/clips/1", b"x")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("/clips"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(NotRemoved):
        store.delete("jobs/a")
    monkeypatch.undo()
    store.delete("jobs/a")
    assert not (store.root / "jobs/a").exists()


def test_a_fault_is_not_taken_for_a_no(store: LocalStore) -> None:
    (store.root / "loop").symlink_to("loop")
    with pytest.raises(StorageUnavailable):
        store.exists("loop")
    assert not store.exists("none")


def test_not_only_content_but_names_too_are_pushed_to_disk(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[str] = []

    def fsync(number: int) -> None:
        pushed.append(os.readlink(f"/proc/self/fd/{number}").removeprefix(str(store.root)))

    monkeypatch.setattr(os, "fsync", fsync)
    store.put_bytes("jobs/a/1", b"x")
    assert pushed[-1] == "/jobs/a"
    assert {"", "/jobs", "/jobs/a"} < set(pushed)
    pushed.clear()
    path = store.staging() / "x"
    path.write_bytes(b"x")
    store.put_file("jobs/a/2", path)
    assert pushed == ["/.staging/x", "/jobs/a"]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that makes no files without a name."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY, raising=False)


@pytest.mark.usefixtures("named")
def test_a_file_system_that_makes_no_nameless_files_does_as_well(store: LocalStore) -> None:
    assert store.put_bytes("a/b", b"x")
    assert not store.put_bytes("a/b", b"y")
    assert store.get_bytes("a/b") == b"x"
    assert store.staged() == []


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="Linux alone makes nameless files")
def test_a_process_that_is_killed_while_it_puts_leaves_nothing(store: LocalStore) -> None:
    pid = os.fork()
    if pid == 0:
        with store._nameless() as file:
            assert file
            file.write(b"x" * 100_000)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert store.staged() == []


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


@needs_full
def test_it_says_that_the_disk_is_full(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def full() -> Iterator[IO[bytes]]:
        with open("/dev/full", "wb") as file:
            yield file

    monkeypatch.setattr(store, "_nameless", full)
    with pytest.raises(StorageFull) as caught:
        store.put_bytes("k", b"x" * 100_000)
    assert caught.value.hint
    assert not store.exists("k")


@needs_full
@pytest.mark.usefixtures("named")
def test_a_named_file_that_the_disk_had_no_room_for_is_removed(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = store.staging() / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(store, "_scratch", lambda: full)
    with pytest.raises(StorageFull):
        store.put_bytes("k", b"x" * 100_000)
    assert not store.exists("k")
    assert not full.is_symlink()


def test_a_file_system_without_hard_links_is_refused(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ConfigError, match="cannot take files") as caught:
        store.check()
    assert "hard links" in str(caught.value.hint)
    assert store.staged() == []


def test_of_many_writers_one_wins_and_knows_it(store: LocalStore) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def put(n: int) -> None:
        start.wait()
        if store.put_bytes("k", b"%d" % n):
            won.append(n)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get_bytes("k") == b"%d" % won[0]


def test_media_that_fails_while_the_store_is_away_is_the_stores_fault(store: LocalStore, tmp_path: Path) -> None:
    store.put_bytes("jobs/a/source.mp4", b"x")

    def fails(after: Callable[[], object]) -> None:
        with store.local_path("jobs/a/source.mp4"):
            after()
            raise EncodeError("ffmpeg failed")

    with pytest.raises(EncodeError):
        fails(lambda: None)
    with pytest.raises(StorageUnavailable, match="the store is not there"):
        fails(lambda: store.root.rename(tmp_path / "away"))
    (tmp_path / "away").rename(store.root)
    with pytest.raises(ArtifactMissing):
        fails(lambda: store.delete("jobs/a"))

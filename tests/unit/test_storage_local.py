import os
import signal
from pathlib import Path

import pytest

from topclip.config import Settings
from topclip.errors import ArtifactMissing, ConfigError, StorageError, StorageFull
from topclip.storage.factory import store_for
from topclip.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def staged(store: LocalStore, content: bytes) -> Path:
    path = store.staging() / os.urandom(4).hex()
    path.write_bytes(content)
    return path


def test_it_gives_back_what_was_put(store: LocalStore) -> None:
    assert store.put_bytes("jobs/a/x.json", b"one")
    assert store.put_file("jobs/a/clips/1.mp4", staged(store, b"0123456789"))
    assert store.get_bytes("jobs/a/x.json") == b"one"
    assert store.size("jobs/a/clips/1.mp4") == 10
    assert b"".join(store.read("jobs/a/clips/1.mp4", 2, 5)) == b"234"
    assert b"".join(store.read("jobs/a/clips/1.mp4", 8, 99)) == b"89"
    with store.local_path("jobs/a/clips/1.mp4") as path:
        assert path.read_bytes() == b"0123456789"
    assert store.list("jobs/a") == ["jobs/a/clips/1.mp4", "jobs/a/x.json"]


def test_it_never_overwrites(store: LocalStore) -> None:
    store.put_bytes("k", b"first")
    path = staged(store, b"second")
    assert not store.put_bytes("k", b"second")
    assert not store.put_file("k", path)
    assert not path.exists()
    assert store.get_bytes("k") == b"first"


def test_it_publishes_a_staged_file_without_copying_it(store: LocalStore) -> None:
    path = staged(store, b"x")
    inode = path.stat().st_ino
    store.put_file("a/b", path)
    assert (store.root / "a/b").stat().st_ino == inode
    assert list(store.staging().iterdir()) == []


def test_it_does_not_list_what_is_being_made(store: LocalStore) -> None:
    staged(store, b"half")
    store.put_bytes("whole", b"x")
    assert store.list("") == ["whole"]


def test_it_deletes_a_folder_and_nothing_beside_it(store: LocalStore) -> None:
    for key in ("jobs/a/1", "jobs/a/clips/2", "jobs/ab/3"):
        store.put_bytes(key, b"x")
    store.delete("jobs/a")
    store.delete("jobs/none")
    assert store.list("jobs") == ["jobs/ab/3"]


def test_it_says_what_is_missing(store: LocalStore) -> None:
    with pytest.raises(ArtifactMissing):
        store.get_bytes("none")
    with pytest.raises(ArtifactMissing):
        list(store.read("none"))
    with pytest.raises(ArtifactMissing), store.local_path("none"):
        pass


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd", "a//b", ""])
def test_it_refuses_keys_that_lead_outside(store: LocalStore, key: str) -> None:
    with pytest.raises(StorageError):
        store.put_file(key, staged(store, b"x"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_it_says_that_the_disk_is_full(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    full = store.staging() / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(store, "_scratch", lambda: full)
    with pytest.raises(StorageFull) as caught:
        store.put_bytes("k", b"x" * 100_000)
    assert caught.value.hint
    assert not store.exists("k")
    assert not full.is_symlink()


def test_it_works_in_a_forked_child(store: LocalStore) -> None:
    store.put_bytes("before", b"x")
    store.get_bytes("before")
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)  # a child that hangs is killed, and found out
        is_well = store.put_bytes("after", b"y") and store.size("after") == 1 and store.get_bytes("before") == b"x"
        os._exit(0 if is_well else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_settings_name_a_folder(tmp_path: Path) -> None:
    store = store_for(Settings(store=str(tmp_path / "there")))
    store.put_bytes("k", b"x")
    assert (tmp_path / "there/k").exists()
    with pytest.raises(ConfigError):
        store_for(Settings(store="s3://bucket/prefix"))

"""What every artifact store does, in a folder and in a bucket."""

import os
import signal
import time
from pathlib import Path

import pytest

from topclip.config import Settings
from topclip.errors import ArtifactMissing, StorageError
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for

LARGE = 40 << 20
"""More than goes to S3 in one request."""


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return store_for(Settings(data_dir=tmp_path))
    place = request.getfixturevalue("shared_s3").settings
    return store_for(Settings(**place | {"store": f"{place['store']}/{tmp_path.name}", "data_dir": tmp_path}))


def staged(store: ArtifactStore, content: bytes) -> Path:
    path = store.staging() / os.urandom(4).hex()
    path.write_bytes(content)
    return path


def test_it_gives_back_what_was_put(store: ArtifactStore) -> None:
    store.check()
    assert store.put_bytes("jobs/a/x.json", b"one")
    assert store.put_file("jobs/a/clips/1.mp4", staged(store, b"0123456789"))
    assert store.get_bytes("jobs/a/x.json") == b"one"
    assert store.exists("jobs/a/x.json")
    assert not store.exists("jobs/a/y.json")
    assert store.size("jobs/a/clips/1.mp4") == 10
    assert b"".join(store.read("jobs/a/clips/1.mp4", 2, 5)) == b"234"
    assert b"".join(store.read("jobs/a/clips/1.mp4", 8, 99)) == b"89"
    assert b"".join(store.read("jobs/a/clips/1.mp4", 10)) == b""
    assert b"".join(store.read("jobs/a/clips/1.mp4", 4, 4)) == b""
    with store.local_path("jobs/a/clips/1.mp4") as path:
        assert path.read_bytes() == b"0123456789"
        assert path.suffix == ".mp4"
    assert store.list("jobs/a") == ["jobs/a/clips/1.mp4", "jobs/a/x.json"]
    assert store.folders("jobs") == ["a"]
    assert store.folders("none") == []


def test_it_never_overwrites(store: ArtifactStore) -> None:
    store.put_bytes("k", b"first")
    path = staged(store, b"second")
    assert not store.put_bytes("k", b"second")
    assert not store.put_file("k", path)
    assert not path.exists()
    assert store.get_bytes("k") == b"first"


def test_a_large_file_comes_back_whole_and_is_never_overwritten(store: ArtifactStore) -> None:
    content = os.urandom(1 << 20) * (LARGE >> 20) + b"end"
    ticks: list[int] = []
    assert store.put_file("big/source.mp4", staged(store, content), lambda: ticks.append(1))
    assert not store.put_file("big/source.mp4", staged(store, b"x" * LARGE))
    assert store.size("big/source.mp4") == len(content)
    with store.local_path("big/source.mp4") as path:
        assert path.read_bytes() == content
    assert b"".join(store.read("big/source.mp4", LARGE)) == b"end"
    assert store.list("big") == ["big/source.mp4"]
    assert store.staged() == []


def test_it_deletes_a_folder_and_nothing_beside_it(store: ArtifactStore) -> None:
    for key in ("jobs/a/1", "jobs/a/clips/2", "jobs/ab/3"):
        store.put_bytes(key, b"x")
    store.delete("jobs/a")
    store.delete("jobs/none")
    assert store.list("jobs") == ["jobs/ab/3"]
    store.delete("jobs/ab/3")
    assert store.list("jobs") == []


def test_it_does_not_list_what_is_being_made(store: ArtifactStore) -> None:
    staged(store, b"half")
    store.put_bytes("whole", b"x")
    assert store.list("") == ["whole"]


def test_it_says_what_is_missing(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactMissing):
        store.get_bytes("none")
    with pytest.raises(ArtifactMissing):
        list(store.read("none"))
    with pytest.raises(ArtifactMissing):
        store.size("none")
    with pytest.raises(ArtifactMissing), store.local_path("none"):
        pass


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd", "a//b", ""])
def test_it_refuses_keys_that_lead_outside(store: ArtifactStore, key: str) -> None:
    with pytest.raises(StorageError):
        store.put_file(key, staged(store, b"x"))


def test_it_works_in_a_forked_child(store: ArtifactStore) -> None:
    store.put_bytes("before", b"x")
    store.get_bytes("before")
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that hangs is killed, and found out
        is_well = store.put_bytes("after", b"y") and store.size("after") == 1 and store.get_bytes("before") == b"x"
        os._exit(0 if is_well else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_settings_name_a_folder(tmp_path: Path) -> None:
    store = store_for(Settings(store=str(tmp_path / "there")))
    store.put_bytes("k", b"x")
    assert (tmp_path / "there/k").exists()


def test_the_sweep_takes_a_folder_that_a_killed_process_left_when_it_is_a_day_old(store: ArtifactStore) -> None:
    for name, age_s in (("left", 90_000), ("used", 80_000)):
        folder = store.staging() / name
        folder.mkdir()
        (folder / "file").write_bytes(b"x")
        os.utime(folder, (time.time() - age_s,) * 2)
    assert store.sweep(3600) == 1
    assert store.staged() == ["used"]


def test_the_sweep_leaves_what_others_make_though_our_clock_is_hours_ahead(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = staged(store, b"in the making"), time.time
    monkeypatch.setattr(time, "time", lambda: now() + 7 * 3600)
    assert store.sweep(6 * 3600) == 0
    assert path.exists()


def test_it_tells_what_each_job_takes(store: ArtifactStore) -> None:
    assert store.sizes() == {}
    for key, size in (
        ("jobs/a/job.json", 3),
        ("jobs/a/clips/1.mp4", 10),
        ("jobs/b/job.json", 4),
        ("analysis/f/v/1", 5),
    ):
        store.put_bytes(key, b"x" * size)
    staged(store, b"in the making")
    assert store.sizes() == {"jobs/a": 13, "jobs/b": 4, "analysis/f": 5}

"""What is particular about a store in a bucket; test_storage.py has what all do."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from tests.proxy import Fate, Proxy
from tests.s3 import BUCKET, S3Container
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import ArtifactDamaged, ArtifactMissing, ConfigError, JobCancelled, StorageUnavailable
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for
from topclip.storage.s3 import S3Store

LARGE = b"0123456789abcdef" * (3 << 20)  # 48 MiB: three parts
SMALL = LARGE[: 1 << 20]
MakeStore = Callable[..., S3Store]


@pytest.fixture
def make_store(s3: S3Container, tmp_path: Path) -> MakeStore:
    """A store with some settings changed; each name is a machine with a disk of its own."""

    def make(machine: str = "a", **changes: Any) -> S3Store:
        store = store_for(Settings(**s3.settings | {"data_dir": tmp_path / machine} | changes))
        assert isinstance(store, S3Store)
        return store

    return make


def put(store: ArtifactStore, key: str, content: bytes) -> bool:
    path = store.staging() / os.urandom(4).hex()
    path.write_bytes(content)
    return store.put_file(key, path)


def cached(tmp_path: Path, machine: str = "a") -> list[Path]:
    return sorted(path for path in (tmp_path / machine / "s3/cache").glob("*") if not path.name.startswith("lock-"))


def test_another_machine_sees_what_one_has_put(make_store: MakeStore) -> None:
    put(make_store("a"), "jobs/a/clip.mp4", b"x")
    with make_store("b").local_path("jobs/a/clip.mp4") as path:
        assert path.read_bytes() == b"x"
    assert not make_store("b").put_bytes("jobs/a/clip.mp4", b"y")


def test_two_large_writers_of_one_name_make_one_object(make_store: MakeStore, s3: S3Container) -> None:
    """The second begins before the first has ended, so that no look before can have told it."""
    first, second = make_store("a"), make_store("b")
    path = second.staging() / "x"
    path.write_bytes(LARGE[::-1])
    ticks: list[bool] = []

    def overtake() -> None:
        if not ticks:
            ticks.append(put(first, "big", LARGE))

    assert not second.put_file("big", path, overtake)
    assert ticks == [True]
    assert first.get_bytes("big") == LARGE
    assert half_sent(s3) == []


def half_sent(s3: S3Container) -> list[Path]:
    """Parts of uploads that lie in the server's folder."""
    return [path for path in s3.root.rglob("*") if "part" in path.name]


def test_an_upload_that_is_stopped_leaves_nothing(make_store: MakeStore, s3: S3Container) -> None:
    store = make_store()
    seen: list[int] = []

    def stop() -> None:
        if half_sent(s3):
            seen.append(1)
            raise JobCancelled("stop")

    path = store.staging() / "x"
    path.write_bytes(LARGE)
    with pytest.raises(JobCancelled):
        store.put_file("big", path, stop)
    assert seen
    assert half_sent(s3) == []
    assert not store.exists("big")
    assert store.staged() == []


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_part_that_is_on_its_way_can_be_stopped_and_is_not_sent_again(
    make_store: MakeStore, s3: S3Container, content: bytes
) -> None:
    store = make_store()
    is_sending = threading.Event()
    ticks_after: list[int] = []
    arrived: list[int] = []
    store._s3.meta.events.register("before-send.s3", lambda request, **_: is_sending.set() if request.body else None)
    store._s3.meta.events.register("after-call.s3.UploadPart", lambda **_: arrived.append(1))

    def stop() -> None:
        if is_sending.is_set():
            ticks_after.append(1)
            raise JobCancelled("stop")

    path = store.staging() / "x"
    path.write_bytes(content)
    with pytest.raises(JobCancelled):
        store.put_file("k", path, stop)
    assert (ticks_after, arrived) == ([1], [])
    until(lambda: not half_sent(s3))  # the server removes its own when it finds the line cut
    assert not store.exists("k")
    assert put(store, "k", content)
    assert store.get_bytes("k") == content


def test_a_server_that_overwrites_is_refused(make_store: MakeStore) -> None:
    def forget(request: Any, **_: Any) -> None:
        del request.headers["If-None-Match"]

    store = make_store()
    store._s3.meta.events.register("before-sign.s3", forget)
    with pytest.raises(ConfigError, match="overwrites") as caught:
        store.check()
    assert "If-None-Match" in str(caught.value.hint)


def test_a_request_that_is_sent_again_does_not_take_its_own_object_for_anothers(make_store: MakeStore) -> None:
    store = make_store()
    asked: list[int] = []

    def lose_the_first_answer(**_: Any) -> int | None:
        asked.append(1)
        return 0 if len(asked) == 1 else None

    store._s3.meta.events.register("needs-retry.s3.PutObject", lose_the_first_answer)
    assert store.put_bytes("k", b"mine")
    assert len(asked) == 2
    assert store.get_bytes("k") == b"mine"


def test_a_large_file_whose_last_answer_was_lost_is_there(make_store: MakeStore, s3: S3Container) -> None:
    asked: list[bytes] = []

    def lose_the_first_answer(request: bytes) -> Fate:
        if not request.rstrip().endswith(b"</CompleteMultipartUpload>"):
            return Fate.PASS
        asked.append(request)
        return Fate.UNANSWERED if len(asked) == 1 else Fate.PASS

    with contextlib.closing(Proxy(s3.port)) as proxy:
        proxy.fate_of = lose_the_first_answer
        store = make_store(s3_endpoint=f"http://127.0.0.1:{proxy.port}")
        assert put(store, "big", LARGE)
        assert len(asked) == 2
        assert store.get_bytes("big") == LARGE
        assert not put(store, "big", LARGE)


def test_who_waits_at_a_request_hears_soon_that_the_server_is_silent(s3: S3Container, tmp_path: Path) -> None:
    with contextlib.closing(Proxy(s3.port)) as proxy:
        place = s3.settings | {"s3_endpoint": f"http://127.0.0.1:{proxy.port}"}
        store = store_for(Settings(data_dir=tmp_path, **place), for_requests=True)
        assert put(store, "k", b"x")
        proxy.is_silent = True
        small = [
            lambda: store.exists("k"),
            lambda: store.size("k"),
            lambda: store.get_bytes("k"),
            lambda: store.put_bytes("k", b""),
            lambda: put(store, "k", b"x" * 1000),
            lambda: list(store.read("k")),
            lambda: store.list("jobs"),
            lambda: store.delete("jobs"),
            store.check,
        ]
        begun = time.monotonic()
        with ThreadPoolExecutor(len(small)) as pool:
            errors = [asked.exception(30) for asked in [pool.submit(ask) for ask in small]]
        assert time.monotonic() - begun < 10
        assert [type(err) for err in errors] == [StorageUnavailable] * 8 + [type(None)]


def test_a_bucket_that_is_not_there_is_no_empty_store(make_store: MakeStore) -> None:
    store = make_store(store="s3://others/topclip")
    asked: list[Callable[[str], object]] = [
        store.exists,
        store.size,
        store.get_bytes,
        lambda key: list(store.read(key)),
        lambda key: store.local_path(key).__enter__(),
        store.folders,
    ]
    for ask in asked:
        with pytest.raises(StorageUnavailable) as caught:
            ask("jobs/a/job.json")
        assert "TOPCLIP_STORE" in str(caught.value.hint)


def test_a_wrong_key_is_said(make_store: MakeStore) -> None:
    store = make_store(s3_secret_key="wrong")
    with pytest.raises(StorageUnavailable) as caught:
        store.put_bytes("k", b"x")
    assert "TOPCLIP_S3_SECRET_KEY" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ({"s3_secret_key": "wrong"}, "TOPCLIP_S3_SECRET_KEY"),
        ({"store": "s3://others/topclip"}, "make the bucket others"),
    ],
    ids=["key", "bucket"],
)
def test_a_store_that_lets_nobody_in_is_refused_at_the_start(
    make_store: MakeStore, setting: dict[str, str], advice: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_store(**setting).check()
    assert advice in str(caught.value.hint)


def test_a_server_that_is_away_is_unavailable_and_comes_back(make_store: MakeStore, s3: S3Container) -> None:
    store = make_store()
    store.put_bytes("k", b"x")
    s3.kill()
    with pytest.raises(StorageUnavailable) as caught:
        store.get_bytes("k")
    assert str(s3.port) not in f"{caught.value} {caught.value.hint}"  # a job's error is seen by its client
    store.check()  # what is away now is not refused for good
    s3.restart()
    assert s3.ready()
    assert store.get_bytes("k") == b"x"


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_what_was_damaged_in_the_store_is_not_used(make_store: MakeStore, tmp_path: Path, content: bytes) -> None:
    store = make_store()
    put(store, "source.mp4", content)
    place = next((tmp_path / "buckets").rglob("source.mp4"))
    damaged = bytearray(content)
    damaged[1000] ^= 1
    place.write_bytes(damaged)
    with pytest.raises(ArtifactDamaged), store.local_path("source.mp4"):
        pass
    assert cached(tmp_path) == []
    other, read = make_store("b"), list[bytes]()
    with pytest.raises(ArtifactDamaged):
        read.extend(other.read("source.mp4", 0, len(content)))  # as a clip is handed out
    assert len(b"".join(read)) < len(content)
    with pytest.raises(ArtifactDamaged):
        list(other.read("source.mp4", len(content) - 9))  # as whoever resumes asks
    other.delete("source.mp4")
    put(other, "source.mp4", content)
    assert list(other.read("source.mp4", len(content) - 9)) == [content[-9:]]


def test_one_copy_serves_all_processes_of_a_machine(make_store: MakeStore, s3: S3Container, tmp_path: Path) -> None:
    store, other = make_store(), make_store()
    put(store, "source.mp4", SMALL)
    with store.local_path("source.mp4") as first, other.local_path("source.mp4") as second:
        assert first != second
        assert first.stat().st_ino == second.stat().st_ino
        assert first.suffix == ".mp4"
    assert [path.stat().st_size for path in cached(tmp_path)] == [len(SMALL)]


def test_an_object_that_was_replaced_is_fetched_anew(make_store: MakeStore) -> None:
    store = make_store()
    put(store, "source.mp4", b"one")
    with store.local_path("source.mp4") as path:
        assert path.read_bytes() == b"one"
    store.delete("source.mp4")
    put(store, "source.mp4", b"two")
    with store.local_path("source.mp4") as path:
        assert path.read_bytes() == b"two"


def test_copies_stay_within_their_room_and_one_in_use_stays(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(s3_cache_mb=2)
    for name in ("a", "b", "c"):
        put(store, name, SMALL)
    with store.local_path("a") as used:
        for name in ("b", "c"):
            with store.local_path(name):
                pass
        assert used.read_bytes() == SMALL
    assert len(cached(tmp_path)) == 2


def test_a_fetch_that_is_stopped_leaves_nothing_and_the_next_one_works(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    put(store, "source.mp4", SMALL)

    def stop() -> None:
        raise JobCancelled("stop")

    with pytest.raises(JobCancelled), store.local_path("source.mp4", stop):
        pass
    assert cached(tmp_path) == []
    with store.local_path("source.mp4") as path:
        assert path.stat().st_size == len(SMALL)


def test_the_sweep_takes_what_is_old_alone(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    put(store, "source.mp4", b"x")
    with store.local_path("source.mp4"):
        pass
    for name in ("old", "new"):
        (store.staging() / name).write_bytes(b"x")
    long_ago = time.time() - 5000
    for path in (store.staging() / "old", *cached(tmp_path)):
        os.utime(path, (long_ago, long_ago))
    store.sweep(3600)
    assert store.staged() == ["new"]
    assert cached(tmp_path) == []


LISTED = """<?xml version="1.0" encoding="UTF-8"?><ListMultipartUploadsResult><Bucket>{bucket}</Bucket>
<IsTruncated>false</IsTruncated>
<Upload><Key>{key}</Key><UploadId>{old}</UploadId><Initiated>{long_ago:%Y-%m-%dT%H:%M:%SZ}</Initiated></Upload>
<Upload><Key>{key}</Key><UploadId>{new}</UploadId><Initiated>{lately:%Y-%m-%dT%H:%M:%SZ}</Initiated></Upload>
</ListMultipartUploadsResult>"""


def test_uploads_that_killed_processes_left_are_aborted_when_they_are_a_day_old_whoever_sweeps(
    make_store: MakeStore, s3: S3Container
) -> None:
    """The test's server cannot list them, so that this one answer is written here as AWS gives it."""
    store, key = make_store(), "topclip/left"
    old, new = (store._s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for _ in range(2))
    for upload in (old, new):
        store._s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    long_ago, lately = (datetime.now(UTC) - timedelta(hours=hours) for hours in (25, 23))
    text = LISTED.format(bucket=BUCKET, key=key, old=old, new=new, long_ago=long_ago, lately=lately).encode()

    def answer(request: Any, **_: Any) -> AWSResponse:
        found = AWSResponse(request.url, 200, {}, None)
        found._content = text
        return found

    assert len(half_sent(s3)) == 2
    store._s3.meta.events.register("before-send.s3.ListMultipartUploads", answer)
    assert store.sweep(3600) == 1
    assert [new in path.name for path in half_sent(s3)] == [True]


def test_clients_are_sent_to_the_server_where_they_reach_it(make_store: MakeStore, s3: S3Container) -> None:
    store = make_store(s3_public_endpoint=s3.endpoint)
    store.put_bytes("clip.mp4", b"0123")
    url = store.download_url("clip.mp4", 'attachment; filename="a b.mp4"', "video/mp4")
    assert url
    answer = httpx.get(url, headers={"Range": "bytes=1-2"})
    assert (answer.status_code, answer.content) == (206, b"12")
    assert answer.headers["content-disposition"] == 'attachment; filename="a b.mp4"'
    assert answer.headers["content-type"] == "video/mp4"
    assert httpx.get(url.replace("clip.mp4?", "other.mp4?")).status_code == 403
    assert make_store().download_url("clip.mp4", "", "") is None


def test_missing_is_said_in_the_settings_words(make_store: MakeStore) -> None:
    with pytest.raises(ArtifactMissing, match="jobs/a/x"):
        make_store().get_bytes("jobs/a/x")


def test_a_line_that_a_refused_object_has_spoilt_is_no_fault_of_the_store(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left of its body the server took for the next request: 400, and it hangs up."""
    store = make_store()
    store.put_bytes("k", b"first")
    head, refused = store._s3.head_object, list[str]()

    def once(**asked: Any) -> Any:
        if not refused:
            refused.append(asked["Key"])
            raise ClientError({"Error": {"Code": "400"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "HeadObject")
        return head(**asked)

    monkeypatch.setattr(store._s3, "head_object", once)
    assert store.size("k") == 5
    assert refused

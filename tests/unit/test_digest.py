"""The digest of a file named by path is taken once, and never believed of a file that may have changed since."""

import hashlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.media import Media
from tests.unit.conftest import request_for
from topclip.errors import StorageUnavailable
from topclip.model.request import Upload
from topclip.pipeline.context import StageContext
from topclip.pipeline.probe import probe_source
from topclip.storage.base import upload_key

REAL = hashlib.sha256
Taken = tuple[str, int]


@pytest.fixture
def source(media: Media, tmp_path: Path) -> Path:
    """A file of the test's own."""
    path = tmp_path / "talk.mp4"
    path.write_bytes(media("short.mp4").read_bytes())
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is ten seconds on, so that a file made just now counts as settled."""
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 10_000_000_000)


@pytest.fixture
def take(ctx: StageContext, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Taken]:
    """take(path) -> the digest that a new job on a file finds, and how many bytes were hashed for it."""
    n_bytes = 0

    class Counting:
        def __init__(self, content: bytes = b"") -> None:
            self._hash = REAL()
            self.update(content)

        def update(self, content: bytes) -> None:
            nonlocal n_bytes
            n_bytes += len(content)
            self._hash.update(content)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Counting)

    def taken(path: Path, **changes: object) -> Taken:
        before = n_bytes
        job = replace(ctx, job_id=str(uuid4()), **changes)  # type: ignore[arg-type]
        return probe_source(request_for(path), job).sha256, n_bytes - before

    return taken


def true_digest(path: Path) -> str:
    return REAL(path.read_bytes()).hexdigest()


def remembered(ctx: StageContext) -> list[str]:
    return ctx.store.list("analysis")


def rewrite(path: Path) -> None:
    """Other content, in place, of the same size: the last byte is one of padding or of a frame."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


@pytest.mark.usefixtures("later")
def test_a_second_job_on_a_file_reads_none_of_it(source: Path, take: Callable[..., Taken]) -> None:
    digest, n_bytes = take(source)
    assert digest == true_digest(source)
    assert n_bytes >= source.stat().st_size
    again, n_bytes = take(source)
    assert again == digest
    assert n_bytes < 1000  # of what tells the file
    link = source.parent / "link.mp4"
    link.symlink_to(source)
    assert take(link)[1] < 1000


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("is_put_back", [False, True])
def test_a_file_that_was_changed_is_read_anew(source: Path, take: Callable[..., Taken], *, is_put_back: bool) -> None:
    first, _ = take(source)
    before = source.stat()
    rewrite(source)
    at_ns = before.st_mtime_ns + (0 if is_put_back else 1)
    os.utime(source, ns=(at_ns, at_ns))
    assert (source.stat().st_size, source.stat().st_mtime_ns) == (before.st_size, at_ns)
    digest, n_bytes = take(source)
    assert first != digest == true_digest(source)
    assert n_bytes >= before.st_size


@pytest.mark.usefixtures("later")
def test_another_file_of_the_same_name_size_and_time_is_read(source: Path, take: Callable[..., Taken]) -> None:
    first, _ = take(source)
    before = source.stat()
    other = source.parent / "other.mp4"
    other.write_bytes(source.read_bytes())
    rewrite(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(source)
    assert first != take(source)[0] == true_digest(source)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "garbage",
    [b"", b"f" * 63, b"F" * 64, b"f" * 64 + b"\n", b"\xff" * 64, b"g" * 64],
    ids=["empty", "short", "capitals", "long", "binary", "letters"],
)
def test_what_is_no_digest_is_not_believed_but_replaced(
    source: Path, ctx: StageContext, take: Callable[..., Taken], garbage: bytes
) -> None:
    digest, _ = take(source)
    (key,) = remembered(ctx)
    ctx.store.delete(key)
    ctx.store.put_bytes(key, garbage)
    assert take(source)[0] == digest
    assert ctx.store.get_bytes(key) == digest.encode()
    assert take(source)[1] < 1000


@pytest.mark.parametrize(("field", "ahead_s"), [("st_mtime_ns", 5), ("st_ctime_ns", -5)])
def test_a_file_that_may_still_be_written_is_not_remembered(
    source: Path,
    ctx: StageContext,
    take: Callable[..., Taken],
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    ahead_s: int,
) -> None:
    """field: which of its times is the later one."""
    at_ns = source.stat().st_mtime_ns + ahead_s * 1_000_000_000
    os.utime(source, ns=(at_ns, at_ns))
    changed_ns = getattr(source.stat(), field)
    monkeypatch.setattr(time, "time_ns", lambda: changed_ns + 1_900_000_000)
    assert take(source)[0] == true_digest(source)
    assert remembered(ctx) == []
    monkeypatch.setattr(time, "time_ns", lambda: changed_ns + 2_100_000_000)
    assert take(source)[0] == true_digest(source)
    assert len(remembered(ctx)) == 1


@pytest.mark.usefixtures("later")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    source: Path, ctx: StageContext, take: Callable[..., Taken]
) -> None:
    at_ns = itertools.count()

    def touch(done_s: float, total_s: float) -> None:
        os.utime(source, ns=(0, next(at_ns)))

    assert take(source, report=touch)[0] == true_digest(source)
    assert remembered(ctx) == []

    def remove(done_s: float, total_s: float) -> None:
        if (done_s, total_s) != (0.0, 1.0):
            source.unlink(missing_ok=True)

    digest = true_digest(source)
    assert take(source, report=remove)[0] == digest  # what becomes of that the next stage says
    assert remembered(ctx) == []


@pytest.mark.usefixtures("later")
def test_what_was_uploaded_is_not_remembered(source: Path, ctx: StageContext) -> None:
    key = upload_key(ctx.job_id, ".mp4")
    ctx.store.put_bytes(key, source.read_bytes())
    request = request_for(source).model_copy(update={"source": Upload(key=key, name=source.name)})
    assert probe_source(request, ctx).sha256 == true_digest(source)
    assert remembered(ctx) == []


@pytest.mark.usefixtures("later")
def test_a_store_that_fails_is_told_as_elsewhere(source: Path, tmp_path: Path, take: Callable[..., Taken]) -> None:
    (tmp_path / "store").mkdir(exist_ok=True)
    (tmp_path / "store" / "analysis").write_text("no folder")
    with pytest.raises(StorageUnavailable):
        take(source)

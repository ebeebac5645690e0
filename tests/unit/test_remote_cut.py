"""Cuts out of what lies on another server: the same to the byte as from a local copy, for a few bytes of the source."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.main import run as run_command
from tests.media import X264, run
from tests.unit.conftest import make_context
from topclip.errors import CheckFailed, EncodeError, SourceChanged, SourceTooLarge, StorageFull
from topclip.media.opening import open_media, opened_by
from topclip.media.probe import probe
from topclip.media.sparse import BLOCK_BYTES, SparseFile
from topclip.outbound.http import Outbound
from topclip.pipeline.context import StageContext
from topclip.pipeline.cut import _decoded_spec, _span, cut_range
from topclip.pipeline.fetch import FetchLimits
from topclip.pipeline.remote_cut import RemoteCut, cut_url
from topclip.pipeline.render import encode_file

LIMITS = FetchLimits(max_bytes=1 << 30)
LONG_S = 1200


@dataclass
class Shelf:
    """A server of files by byte ranges, over connections that stay open. tag: of all of them; may change at any time."""

    folder: Path
    port: int = 0
    tag: str = '"a"'
    has_ranges: bool = True
    clients: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    on_request: Callable[[int], None] = lambda n: None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def shelf_of(folder: Path) -> Iterator[Shelf]:
    shelf = Shelf(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            shelf.clients.add(self.client_address[1])
            shelf.asked.append(self.headers.get("Range", ""))
            shelf.on_request(len(shelf.asked))
            path = shelf.folder / self.path.lstrip("/")
            if not path.exists():
                self.send_error(404)
                return
            size = path.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, end = 0, size
            if asked and shelf.has_ranges and self.headers.get("If-Range", shelf.tag) == shelf.tag:
                start, end = int(asked[1]), min(int(asked[2]) + 1, size)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("ETag", shelf.tag)
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            with path.open("rb") as file, contextlib.suppress(ConnectionError):
                file.seek(start)
                self.wfile.write(file.read(end - start))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shelf.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield shelf
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 minutes of small pictures at a camera's rate of bytes, one minute again and again; and a minute of other kinds."""
    found = tmp_path_factory.mktemp("shelf")
    picture = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=10,noise=alls=8:allf=t", "-f", "lavfi", "-i", "sine=330"]
    part = found / "part.mp4"
    run(*picture, "-t", "60", *X264, "-g", "20", "-bf", "2", "-c:a", "aac", part)
    run("-stream_loop", str(LONG_S // 60 - 1), "-i", part, "-c", "copy", found / "long.mp4")
    for name, options in (
        ("index_first.mp4", ("-movflags", "+faststart")),
        ("fragments.mp4", ("-movflags", "frag_keyframe+empty_moov")),
        ("cues_last.mkv", ()),
        ("guessed.ts", ()),
    ):
        run("-i", part, "-c", "copy", *options, found / name)
    run("-display_rotation", "90", "-i", part, "-c", "copy", found / "turned.mp4")
    return found


@pytest.fixture
def shelf(folder: Path) -> Iterator[Shelf]:
    with shelf_of(folder) as found:
        yield found


@pytest.fixture
def ctx(tmp_path: Path) -> StageContext:
    return make_context(tmp_path / "store")


def cut_far(
    shelf: Shelf, name: str, span_s: tuple[float, float], ctx: StageContext, out: Path, limits: FetchLimits = LIMITS
) -> RemoteCut:
    outbound = Outbound(["127.0.0.1/32"])
    return cut_url(shelf.url(name), *span_s, out, ctx, outbound=outbound, limits=limits)


def share(found: RemoteCut) -> float:
    return found.read_bytes / found.source_bytes


def same_as_near(shelf: Shelf, name: str, span_s: tuple[float, float], ctx: StageContext, tmp_path: Path) -> RemoteCut:
    """A cut by the URL, which is the one of the file to the byte."""
    far, near = tmp_path / "far.mp4", tmp_path / "near.mp4"
    found = cut_far(shelf, name, span_s, ctx, far)
    assert found.made == cut_range(shelf.folder / name, *span_s, near, ctx)
    assert far.read_bytes() == near.read_bytes()
    assert ctx.store.staged() == []
    return found


def test_half_a_minute_of_a_long_source_takes_few_of_its_bytes(shelf: Shelf, ctx: StageContext, tmp_path: Path) -> None:
    found = same_as_near(shelf, "long.mp4", (610.3, 640.3), ctx, tmp_path)
    assert (found.made.method, found.made.frames, found.note) == ("smart", 300, None)
    assert found.source_bytes == (shelf.folder / "long.mp4").stat().st_size
    assert share(found) <= 0.05
    assert len(set(shelf.asked)) == len(shelf.asked)
    assert len(shelf.clients) == 1


def test_the_index_takes_a_hundredth_of_the_bytes(shelf: Shelf, ctx: StageContext, tmp_path: Path) -> None:
    path, n_read = shelf.folder / "long.mp4", 0

    def read(start: int, end: int) -> bytes:
        nonlocal n_read
        n_read += end - start
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    size, head = path.stat().st_size, read(0, BLOCK_BYTES)
    with SparseFile(tmp_path / "sparse", size, head, read) as sparse, opened_by(sparse.path, sparse.opened):
        with open_media(sparse.path) as container:
            assert len(container.streams.video[0].index_entries) == LONG_S * 10
        assert not sparse.is_whole
    assert n_read <= 0.01 * size


@pytest.mark.parametrize(
    ("name", "span_s"),
    [
        ("index_first.mp4", (0.0, 3.0)),
        ("index_first.mp4", (33.35, 37.05)),
        ("part.mp4", (57.0, 60.0)),
        ("cues_last.mkv", (33.35, 37.05)),
        ("cues_last.mkv", (57.0, 60.0)),
        ("turned.mp4", (33.35, 35.05)),
    ],
)
def test_a_cut_is_the_one_of_a_local_file(
    shelf: Shelf, ctx: StageContext, tmp_path: Path, name: str, span_s: tuple[float, float]
) -> None:
    found = same_as_near(shelf, name, span_s, ctx, tmp_path)
    assert found.made.method == ("encode" if name == "turned.mp4" else "smart")
    assert share(found) < 0.7
    assert found.note is None


def test_without_an_index_at_hand_more_is_read_and_no_less_right(
    shelf: Shelf, ctx: StageContext, tmp_path: Path
) -> None:
    found = same_as_near(shelf, "fragments.mp4", (33.35, 37.05), ctx, tmp_path)
    assert found.note is None
    assert share(found) > 0.5


@pytest.mark.parametrize(
    ("name", "has_ranges", "note"),
    [("guessed.ts", True, "no index"), ("index_first.mp4", False, "sends no ranges")],
)
def test_what_cannot_be_read_by_ranges_is_fetched_whole(
    shelf: Shelf, ctx: StageContext, tmp_path: Path, name: str, *, has_ranges: bool, note: str
) -> None:
    shelf.has_ranges = has_ranges
    found = same_as_near(shelf, name, (33.35, 37.05), ctx, tmp_path)
    assert share(found) == 1.0
    assert note in (found.note or "")
    assert len(shelf.asked) == 2


def test_what_ffmpeg_stumbles_over_by_parts_is_made_from_the_whole(
    shelf: Shelf, ctx: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter((EncodeError("the picture breaks off"), None))

    def encode(*args: object) -> int:
        if error := next(tries):
            raise error
        return encode_file(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("topclip.pipeline.cut.encode_file", encode)
    found = cut_far(shelf, "turned.mp4", (33.35, 35.05), ctx, tmp_path / "out.mp4")
    assert (found.made.frames, share(found)) == (17, 1.0)
    assert "the picture breaks off" in (found.note or "")


def test_no_clip_with_a_hole_passes(folder: Path, ctx: StageContext, tmp_path: Path) -> None:
    """What ffmpeg would read of a block that was not brought."""
    path = folder / "turned.mp4"
    info = probe(path)
    spec = _decoded_spec(path, info, _span(info, 34.35, 36.05), ctx.max_pixels)
    content = bytearray(path.read_bytes())
    hole = round(len(content) * 35 / 60) // BLOCK_BYTES * BLOCK_BYTES
    assert encode_file(path, info, spec, ctx, tmp_path / "whole.mp4") == spec.frames
    content[hole : hole + BLOCK_BYTES] = bytes(BLOCK_BYTES)
    (tmp_path / "holed.mp4").write_bytes(content)
    with pytest.raises((EncodeError, CheckFailed)):
        encode_file(tmp_path / "holed.mp4", info, spec, ctx, tmp_path / "out.mp4")


def test_a_source_that_changes_in_the_middle_leaves_nothing(
    shelf: Shelf, ctx: StageContext, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def change(n: int) -> None:
        if n == 6:
            shelf.tag = '"b"'

    shelf.on_request = change
    with pytest.raises(SourceChanged):
        cut_far(shelf, "index_first.mp4", (33.35, 37.05), ctx, tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) in (["store"], [])
    assert ctx.store.staged() == []
    assert "Traceback" not in capfd.readouterr().err


def test_bounds_of_bytes_and_room_hold(shelf: Shelf, ctx: StageContext, tmp_path: Path) -> None:
    for limits, error in (
        (FetchLimits(max_bytes=1 << 20), SourceTooLarge),
        (FetchLimits(max_bytes=1 << 30, min_free_bytes=1 << 62), StorageFull),
    ):
        with pytest.raises(error):
            cut_far(shelf, "index_first.mp4", (33.35, 37.05), ctx, tmp_path / "out.mp4", limits)
    assert ctx.store.staged() == []


def test_whoever_interrupts_while_bytes_are_awaited_is_heard(tmp_path: Path, folder: Path) -> None:
    path = folder / "index_first.mp4"

    def read(start: int, end: int) -> bytes:
        raise KeyboardInterrupt

    head = path.read_bytes()[:BLOCK_BYTES]
    with (
        pytest.raises(KeyboardInterrupt),
        SparseFile(tmp_path / "sparse", path.stat().st_size, head, read) as sparse,
        opened_by(sparse.path, sparse.opened),
        open_media(sparse.path) as container,
    ):
        for _ in container.demux():
            pass
    assert not (tmp_path / "sparse").exists()


def test_the_command_cuts_a_url(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["cut", shelf.url("index_first.mp4"), "--start", "33", "--end", "36", "--out", str(tmp_path / "out.mp4")]
    assert run_command(argv) == 2
    assert "not public" in capsys.readouterr().err
    assert shelf.asked == []
    monkeypatch.setenv("TOPCLIP_PRIVATE_NETWORKS", "127.0.0.1/32")
    assert run_command([*argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["frames"] == 30
    assert 0 < document["read_bytes"] < document["source_bytes"]
    assert run_command(["shots", shelf.url("index_first.mp4")]) == 2
    assert "topclip cut" in capsys.readouterr().err
    assert run_command([*argv[:1], shelf.url("none.mp4"), *argv[2:]]) == 1

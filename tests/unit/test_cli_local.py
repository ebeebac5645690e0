import json
import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from cli.cut import cut
from cli.fetch import fetch
from cli.local import clip, plan
from cli.main import run as run_command
from cli.options import build_options
from cli.server import Server
from cli.shots import shots
from tests.media import CUTS_S, RATE, Media
from tests.media import run as run_ffmpeg
from topclip.errors import InvalidRequest, ServerUnreachable, StorageError
from topclip.media.probe import probe
from topclip.model.base import JsonDict
from topclip.model.clip import Plan
from topclip.model.manifest import Manifest
from topclip.model.request import Weights


def run(command: click.Command, *args: object, code: int = 0) -> str:
    done = CliRunner().invoke(command, [str(a) for a in args], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert (done.return_value or 0) == code
    return done.stdout


def test_shots_prints_the_cuts(media: Media) -> None:
    document = json.loads(run(shots, media("base.mp4"), "--json"))
    assert document == {"fps": "25/1", "cuts": [{"frame": int(t * RATE), "time_s": t} for t in CUTS_S]}
    assert "4 cuts" in run(shots, media("base.mp4"))


def test_plan_prints_the_plan(media: Media) -> None:
    flags = ("--count", 2, "--min-length", 3, "--max-length", 6, "--weight", "loudness=2", "--weight", "cuts=0")
    document = json.loads(run(plan, media("base.mp4"), *flags, "--json"))
    assert len(Plan.model_validate(document).highlights) == 2
    assert document["options"]["weights"] == {**Weights().to_dict(), "loudness": 2, "cuts": 0}
    assert "score" in run(plan, media("base.mp4"), *flags)


def test_plan_draws_itself(media: Media, tmp_path: Path) -> None:
    flags = ("--count", 2, "--min-length", 3, "--max-length", 6)
    run(plan, media("base.mp4"), *flags, "--plot", tmp_path / "plan.svg")
    assert ElementTree.parse(tmp_path / "plan.svg").getroot().tag.endswith("svg")
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.svg"]


def test_plan_is_written_for_other_programs_by_the_files_suffix(media: Media, tmp_path: Path) -> None:
    flags = ("--range", "4-9", "--range", "1-2")
    paths = [tmp_path / f"cuts.{kind}" for kind in ("edl", "fcpxml", "csv", "chapters", "ffmetadata")]
    source = media("base.mp4")
    run(plan, source, *flags, *(part for path in paths for part in ("--export", path)))
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert "00:00:04:00 00:00:09:00 01:00:00:00 01:00:05:00" in paths[0].read_text()
    (rep,) = ElementTree.parse(paths[1]).iter("media-rep")
    assert rep.get("src") == source.as_uri()
    assert paths[3].read_text() == "0:00 Start\n0:01 Clip 2\n0:04 Clip 1\n"
    with pytest.raises(click.UsageError, match=r"\.edl, \.fcpxml"):
        run(plan, source, *flags, "--export", tmp_path / "cuts.xyz")


def test_plan_keeps_an_analysis_where_it_is_told_to(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--count", 2, "--min-length", 3, "--max-length", 6, "--cache", tmp_path / "kept", "--json")
    first = run(plan, media("base.mp4"), *flags)
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [".staging", "analysis", "jobs"]
    assert not list((tmp_path / "kept" / "jobs").rglob("*.json"))

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("topclip.pipeline.analyse.measure_chunk", refuse)
    assert run(plan, media("base.mp4"), *flags) == first


def test_cut_makes_one_exact_clip(media: Media, tmp_path: Path) -> None:
    out = tmp_path / "part.mp4"
    document = json.loads(run(cut, media("base.mp4"), "--start", "4", "--end", "0:09", "--out", out, "--json"))
    assert document == {"method": "smart", "frames": 125, "copied": 125, "start_s": 4.0, "end_s": 9.0}
    assert probe(out).duration_s == pytest.approx(5, abs=0.04)
    assert list(tmp_path.iterdir()) == [out]


def test_a_cut_that_the_frames_do_not_allow_says_where_it_lies(tmp_path: Path) -> None:
    source = tmp_path / "still.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=40,select='lt(t,4)+gte(t,4.9)'", "-fps_mode", "vfr", source
    )
    flags = ("--start", "2", "--end", "4.2", "--out", tmp_path / "part.mp4")
    moved = CliRunner().invoke(cut, [str(source), *map(str, flags)], standalone_mode=False)
    assert "asked for from 2 to 4.2 s, it goes from 2 to 4.92 s: the source's frames allow no other" in moved.stderr
    there = CliRunner().invoke(cut, [str(source), "--start=2", "--end=3", "--out", str(tmp_path / "other.mp4")])
    assert "asked for" not in there.stderr


def test_clip_leaves_clips_plan_and_manifest(media: Media, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--count", 2, "--min-length", 3, "--max-length", 5, "--aspect", "9:16", "--quality", "draft")
    manifest = Manifest.model_validate_json(run(clip, media("base.mp4"), *flags, "--out", out, "--json"))
    assert Manifest.model_validate_json((out / "manifest.json").read_bytes()) == manifest
    assert json.loads((out / manifest.plan).read_bytes())["highlights"]
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    clips = {name for c in manifest.clips for name in (c.file, c.thumbnail)}
    assert files == {"manifest.json", "plan.json", *clips}


def test_a_folder_that_cannot_be_made_is_named(media: Media) -> None:
    path = media("short.mp4")
    with pytest.raises(StorageError, match="cannot write into"):
        run(clip, path, "--out", path / "below")


def test_a_failure_leaves_nothing_half_made(media: Media, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="shorter than min_length"):
        run(clip, media("short.mp4"), "--min-length", 20, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--count", "0"], "--count"),
        (["--min-length", "20", "--max-length", "10"], "max_length"),
        (["--aspect", "3:2"], "3:2"),
        (["--weight", "charm=1"], "no signal"),
        (["--range", "9"], "START-END"),
        (["--mode", "ranges"], "ranges"),
    ],
)
def test_a_bad_flag_is_named(media: Media, flags: list[str], words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        run(plan, media("short.mp4"), *flags)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"count": 3}, "count", 3),
        ({"ranges": ((1.0, 2.0),)}, "mode", "ranges"),
        ({"aspect": None, "weights": ()}, "aspect", "source"),
    ],
)
def test_flags_become_options(given: dict[str, Any], field: str, value: object) -> None:
    assert getattr(build_options(given), field) == value


def link(to: Path, path: Path, kind: str) -> Path:
    match kind:
        case "itself":
            return to
        case "another spelling":
            return to.parent / ".." / to.parent.name / to.name
        case "relative":
            return Path(os.path.relpath(to))
        case "symbolic link":
            path.symlink_to(to)
        case "hard link":
            path.hardlink_to(to)
    return path


KINDS = ["itself", "another spelling", "relative", "symbolic link", "hard link"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_does_not_replace_its_source(
    media: Media, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    source = Path(shutil.copy(media("short.mp4"), tmp_path / "talk.mp4"))
    out = link(source, tmp_path / "out.mp4", kind)
    before = sorted(tmp_path.iterdir())
    assert run_command(["cut", str(source), "--start", "1", "--end", "2", "--out", str(out)]) == 2
    assert "--out" in capsys.readouterr().err
    assert source.read_bytes() == media("short.mp4").read_bytes()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["manifest.json", "plan.json"])
def test_clips_do_not_replace_their_source(
    media: Media, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = Path(shutil.copy(media("short.mp4"), tmp_path / name))
    flags = ["--mode", "ranges", "--range", "1-2", "--out", str(tmp_path)]
    assert run_command(["clip", str(source), *flags]) == 2
    assert "--out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]
    assert source.read_bytes() == media("short.mp4").read_bytes()


def test_a_clip_does_not_replace_the_source_that_has_its_name(media: Media, tmp_path: Path) -> None:
    source, out = Path(shutil.copy(media("short.mp4"), tmp_path / "talk.mp4")), tmp_path / "out"
    flags = ("--range", "1-2", "--quality", "draft", "--out", out)
    run(clip, source, *flags)
    made = next(out.glob("clips/*.mp4"))
    made.unlink()
    made.hardlink_to(source)
    with pytest.raises(InvalidRequest, match="--out"):
        run(clip, source, *flags)
    assert made.samefile(source)


class FakeServer:
    """A server whose one job made a plan."""

    def manifest(self, job_id: str) -> JsonDict:
        return {"plan": "plan.json", "clips": [{"n": 1, "file": "clips/1.mp4", "sha256": "0", "thumbnail": None}]}

    def download(self, path: str, target: Path) -> None:
        raise AssertionError(f"{path} to {target}")


@pytest.mark.parametrize("name", ["manifest.json", "plan.json", "clips/1.mp4"])
def test_a_download_does_not_replace_what_was_submitted(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(b"video")
    with pytest.raises(InvalidRequest, match="--out"):
        fetch(FakeServer(), "job", tmp_path, source)  # type: ignore[arg-type]  # as much of it as is asked
    assert source.read_bytes() == b"video"


def test_a_download_that_breaks_off_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:

        def answer() -> None:
            with listener.accept()[0] as caller:
                caller.recv(4096)
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        pool.submit(answer)
        with (
            Server(f"http://127.0.0.1:{listener.getsockname()[1]}", None) as server,
            pytest.raises(ServerUnreachable, match=r"download of 1\.mp4 broke off"),
        ):
            server.download("/clips/1.mp4", tmp_path / "1.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_submission_that_could_not_be_fetched_is_not_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "manifest.json"
    source.write_bytes(b"video")
    nowhere = "http://127.0.0.1:9"
    assert run_command(["submit", str(source), "--url", nowhere, "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_cut_is_named_as_what_it_is(media: Media, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mkv"
    assert run_command(["cut", str(media("short.mp4")), "--start", "1", "--end", "2", "--out", str(out)]) == 2
    assert "out.mkv: what is made is an mp4" in capsys.readouterr().err
    assert not out.exists()

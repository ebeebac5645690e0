"""A plan by a first look."""

import json
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest
from click.testing import CliRunner

from cli.local import plan as plan_command
from tests.media import Media, run
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.first_plan import first_plan
from topclip.media.thumb import Thumb, Thumbs
from topclip.model.clip import Plan
from topclip.model.request import ClipRequest

OPTIONS = {"count": 1, "min_length": 5, "max_length": 8}


@pytest.fixture(scope="module")
def long_source(media: Media, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base after 48 s in which little happens, as eight groups of pictures at least."""
    path = tmp_path_factory.mktemp("first") / "long.mp4"
    calm = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=48", "-f", "lavfi", "-i", "sine=180:r=48000:d=48")
    graph = "[1]volume=0.02,aformat=channel_layouts=stereo[q];[0][q][2:v][2:a]concat=n=2:v=1:a=1[v][a]"
    code = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "50", "-c:a", "aac")
    run(*calm, "-i", media("base.mp4"), "-filter_complex", graph, "-map", "[v]", "-map", "[a]", *code, path)
    return path


def full_plan(request: ClipRequest, folder: Path) -> Plan:
    ctx = make_context(folder)
    content = ctx.store.get_bytes(run_local.run(request, ctx).plan_key)
    return Plan.model_validate_json(content)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were looked at so far."""
    made = [0]
    thumb_of = Thumbs.of

    def counted(self: Thumbs, frame: av.VideoFrame) -> Thumb:
        made[0] += 1
        return thumb_of(self, frame)

    monkeypatch.setattr(Thumbs, "of", counted)
    return made


def test_it_chooses_like_the_full_plan_by_and_large_and_decodes_less(
    long_source: Path, tmp_path: Path, made: list[int]
) -> None:
    request = request_for(long_source, mode="plan", **OPTIONS)
    full = full_plan(request, tmp_path / "full")
    n_full, made[0] = made[0], 0
    first = first_plan(request, make_context(tmp_path / "first")).plan
    (one,), (other,) = first.highlights, full.highlights
    shared_s = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    assert shared_s > 0.5 * (other.end_s - other.start_s)
    assert first.is_first
    assert not full.is_first
    assert made[0] < 0.6 * n_full


def test_many_pictures_a_second_are_passed_over_as_few_are(tmp_path: Path, made: list[int]) -> None:
    path, n_frames = tmp_path / "quick.mp4", 40 * 240
    picture = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=240:d=40")
    run(*picture, "-c:v", "libx264", "-preset", "ultrafast", "-g", "120", "-pix_fmt", "yuv420p", path)
    first_plan(request_for(path, mode="plan", **OPTIONS), make_context(tmp_path / "store"))
    assert made[0] < 0.5 * n_frames


def test_edges_fall_on_cuts_between_key_frames(tmp_path: Path) -> None:
    """Something loud begins with a cut at 20.6 s; key frames come each 4 s, and are all that the glance sees."""
    parts = (("testsrc2", 20.6, 0.02, "null"), ("mandelbrot", 9, 0.6, "null"), ("testsrc2", 20.4, 0.02, "negate"))
    inputs, pictures, both = list[str](), "", ""
    for i, (picture, length_s, loud, change) in enumerate(parts):
        sound = f"anoisesrc=c=pink:a={loud}:seed={i}:r=48000"
        for source in (f"{picture}=s=320x180:r=25", sound):
            inputs += ["-f", "lavfi", "-t", str(length_s), "-i", source]
        pictures += f"[{2 * i}:v]{change}[v{i}];"
        both += f"[v{i}][{2 * i + 1}:a]"
    graph = ["-filter_complex", f"{pictures}{both}concat=n=3:v=1:a=1[v][a]", "-map", "[v]", "-map", "[a]"]
    code = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "100", "-sc_threshold", "0", "-pix_fmt", "yuv420p"]
    run(*inputs, *graph, *code, "-c:a", "aac", tmp_path / "loud.mp4")
    request = request_for(tmp_path / "loud.mp4", mode="plan", count=1, min_length=5, max_length=12)
    (found,) = first_plan(request, make_context(tmp_path / "store")).plan.highlights
    assert (found.start_s, found.start_edge) == (20.6, "cut")


def test_the_command_says_that_it_is_one(long_source: Path) -> None:
    flags = ["--count", "1", "--min-length", "5", "--max-length", "8"]
    result = CliRunner().invoke(plan_command, [str(long_source), "--first", "--json", *flags])
    document = json.loads(result.stdout)
    assert document["is_first"] is True
    assert len(document["highlights"]) == 1


def test_it_is_drawn_and_handed_on(long_source: Path, tmp_path: Path) -> None:
    plot, cuts = tmp_path / "p.svg", tmp_path / "p.edl"
    flags = ["--count", "1", "--min-length", "5", "--max-length", "8", "--plot", str(plot), "--export", str(cuts)]
    result = CliRunner().invoke(plan_command, [str(long_source), "--first", *flags])
    assert result.exit_code == 0
    ElementTree.fromstring(plot.read_text())
    assert "motion" in plot.read_text()
    assert "001" in cuts.read_text()

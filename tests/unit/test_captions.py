"""Captions as an independent look at files and pictures shows them."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import AAC, X264, ffmpeg, run
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.captions.fonts import choose_fonts
from topclip.captions.script import STRETCH, make_script
from topclip.captions.words import build_cues
from topclip.errors import BadSubtitles, ConfigError, JobCancelled, NoTranscript
from topclip.media.overlay import overlay_filter
from topclip.model.clip import CaptionSpec, ClipSpec
from topclip.model.manifest import ManifestClip
from topclip.model.request import CaptionStyle, ClipRequest, MediaPath
from topclip.model.transcript import RawCue
from topclip.pipeline.captions import captions_of, check_captions
from topclip.pipeline.context import StageContext
from topclip.pipeline.probe import probe_source
from topclip.pipeline.transcribe import transcribe
from topclip.pipeline.transcript import transcript_ref
from topclip.storage.base import job_folder, transcript_ref_key
from topclip.storage.local import LocalStore

WIDTH, HEIGHT = 320, 180
SRT = """1
00:00:00,701 --> 00:00:01,401
first words, spoken here

2
00:00:01,900 --> 00:00:09,000
and the second
"""
Colour = NDArray[np.int16]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """plain.mp4: grey, 2.5 s of 30000/1001 with a tone; told.mkv: the same with a text track; talk.srt."""
    folder = tmp_path_factory.mktemp("captions")
    (folder / "talk.srt").write_text(SRT)
    grey = ["-f", "lavfi", "-i", f"color=0x606060:s={WIDTH}x{HEIGHT}:r=30000/1001:d=2.5"]
    tone = ["-f", "lavfi", "-i", "sine=440:d=2.5"]
    run(*grey, *tone, *X264, "-g", "15", *AAC, folder / "plain.mp4")
    (folder / "track.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nfrom the track\n")
    run("-i", folder / "plain.mp4", "-i", folder / "track.srt", "-c", "copy", "-c:s", "srt", folder / "told.mkv")
    return folder


def asked(source: Path, subtitles: Path | None = None, **options: object) -> ClipRequest:
    request = request_for(source, **{"mode": "ranges", "ranges": [(0.2, 2.4)], "quality": "draft", **options})
    text = None if subtitles is None else MediaPath(path=str(subtitles), name=subtitles.name)
    return request.model_copy(update={"subtitles": text})


def made(request: ClipRequest, ctx: StageContext) -> tuple[ManifestClip, Path]:
    """The one clip of a request, and the folder that the manifest's names are of."""
    (clip,) = run_local.run(request, ctx).manifest.clips
    assert isinstance(ctx.store, LocalStore)
    return clip, ctx.store.root / job_folder(ctx.job_id)


def pictures(path: Path, width: int, height: int) -> Colour:
    """All pictures in RGB by ffmpeg itself, shape (n, height, width, 3)."""
    raw = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run([ffmpeg(), "-v", "error", "-i", path, *raw], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3).astype(np.int16)


def drawn(
    text: str, tmp_path: Path, size: tuple[int, int] = (640, 360), style: str = "plain", at_s: float = 0.5
) -> Colour:
    """One picture of a caption of a second on black, RGB."""
    raw = RawCue(start_ms=0, end_ms=1000, markup=text, syntax="plain")
    script = make_script(build_cues([raw], 1.0), *size, CaptionStyle(style))
    fonts = tmp_path / "fonts"
    fonts.mkdir(exist_ok=True)
    for n, font in enumerate(script.fonts.fonts):
        (fonts / f"{n}{font.suffix}").write_bytes(font.content or Path(str(font.path)).read_bytes())
    (tmp_path / "a.ass").write_text(script.text)
    source = ["-f", "lavfi", "-i", f"color=black:s={size[0]}x{size[1]}:r=1:d=1"]
    chain = f"settb=1/1000,setpts={at_s}/TB,{overlay_filter(tmp_path / 'a.ass', fonts, STRETCH)}"
    run(*source, "-vf", chain, tmp_path / "a.png")
    return pictures(tmp_path / "a.png", *size)[0]


def yellow(picture: Colour) -> NDArray[np.bool_]:
    return (picture[..., 0] > 180) & (picture[..., 1] > 150) & (picture[..., 2] < 90)


def test_words_stand_in_exactly_the_pictures_of_their_time_and_light_up_as_spoken(
    folder: Path, ctx: StageContext
) -> None:
    clip, at = made(asked(folder / "plain.mp4", folder / "talk.srt", captions="burn"), ctx)
    seen = pictures(at / clip.file, WIDTH, HEIGHT)
    has_ink = (seen.min(axis=3) > 200).any(axis=(1, 2))
    times = np.arange(len(seen)) * 1001 / 30000
    # The first cue would end and the second begin a picture too early on a clock of hundredths.
    first, second = (times >= 0.701 - clip.start_s) & (times < 1.401 - clip.start_s), times >= 1.9 - clip.start_s
    assert has_ink.tolist() == (first | second).tolist()
    lit = [np.nonzero(yellow(picture))[1].mean() for picture in seen[first]]
    assert len({round(x) for x in lit}) >= 4  # one place after the other
    assert lit == sorted(lit)
    check = next(check for check in clip.checks if check.name == "captions")
    assert check.ok
    assert check.found["seen"] > 0.95
    assert clip.method == "encode"
    assert clip.note is not None
    assert "captions" in clip.note


def test_side_files_lie_beside_a_clip_that_is_still_copied(folder: Path, ctx: StageContext) -> None:
    clip, at = made(asked(folder / "plain.mp4", folder / "talk.srt"), ctx)
    assert clip.method == "smart"
    assert clip.captions is not None
    assert (clip.captions.cues, clip.captions.burned, clip.captions.origin) == (2, False, "subtitles")
    start_ms, end_ms = round(clip.start_s * 1000), round(clip.end_s * 1000)
    stamps = [f"00:00:{(ms - start_ms) / 1000:06.3f}" for ms in (701, 1401, 1900, end_ms)]
    body = (at / clip.captions.vtt).read_text()
    assert body == (
        f"WEBVTT\n\n{stamps[0]} --> {stamps[1]}\nfirst words, spoken here\n\n{stamps[2]} --> {stamps[3]}\nand the second\n"
    )
    srt = (at / clip.captions.srt).read_text()
    assert srt.startswith(f"1\n{stamps[0].replace('.', ',')} --> {stamps[1].replace('.', ',')}\nfirst words")


def test_a_clip_without_the_captions_it_should_show_fails_its_check(folder: Path, ctx: StageContext) -> None:
    request = asked(folder / "plain.mp4", folder / "talk.srt", captions="burn")
    info = probe_source(request, ctx)
    key = transcribe(request, info, ctx).key
    assert key is not None
    spec = ClipSpec(
        n=1, start_s=0.0, end_s=2.5, start_pts=0, end_pts=75 * 1001, frames=75, aspect="source", fit="crop", quality="draft",
        loudness=-14.0, source_loudness=None, captions=CaptionSpec(transcript=key, style=CaptionStyle.SPOKEN),
    )  # fmt: skip
    with captions_of(info, spec, ctx) as text:
        assert text is not None
        check = check_captions(text, folder / "plain.mp4", spec, ctx)
        assert not check.ok
        assert check.found["seen"] < 0.5
        assert text.folder is not None
        left = text.folder
    assert not left.exists()


def test_other_text_or_style_is_another_clip(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.srt"
    other.write_text(SRT.replace("second", "third"))
    store, names = tmp_path / "store", set()
    for subtitles, options in (
        (folder / "talk.srt", {"captions": "burn"}),
        (other, {"captions": "burn"}),
        (folder / "talk.srt", {"captions": "burn", "caption_style": "box"}),
        (folder / "talk.srt", {"captions": "side", "caption_style": "box"}),
        (folder / "talk.srt", {"captions": "side"}),
    ):
        ctx = make_context(store)
        names.add(made(asked(folder / "plain.mp4", subtitles, **options), ctx)[0].file)
    assert len(names) == 4  # the style of what is not drawn makes no other clip


def test_no_text_is_an_error_where_captions_were_asked_for_and_nothing_where_not(folder: Path, tmp_path: Path) -> None:
    for n, wanted in enumerate(("burn", "side")):
        with pytest.raises(NoTranscript) as caught:
            run_local.run(asked(folder / "plain.mp4", captions=wanted), make_context(tmp_path / str(n)))
        assert caught.value.hint
        assert not list((tmp_path / str(n)).rglob("*.npz"))  # said before the work begins
    ctx = make_context(tmp_path / "auto")
    clip, _ = made(asked(folder / "plain.mp4"), ctx)
    assert clip.captions is None
    with pytest.raises(NoTranscript):  # also of a job that is made again with other options
        run_local.run(asked(folder / "plain.mp4", captions="burn"), ctx)


def test_a_track_of_the_source_is_used_unless_a_file_is_given(folder: Path, tmp_path: Path) -> None:
    clip, at = made(asked(folder / "told.mkv", captions="side"), make_context(tmp_path / "a"))
    assert clip.captions is not None
    assert clip.captions.origin == "embedded"
    assert "from the track" in (at / clip.captions.srt).read_text()
    clip, _ = made(asked(folder / "told.mkv", folder / "talk.srt", captions="side"), make_context(tmp_path / "b"))
    assert clip.captions is not None
    assert clip.captions.origin == "subtitles"
    clip, _ = made(asked(folder / "told.mkv", captions="off"), make_context(tmp_path / "c"))
    assert clip.captions is None


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_file_counts_from_where_players_do_though_the_picture_begins_later(
    folder: Path, ctx: StageContext, tmp_path: Path, suffix: str
) -> None:
    late = tmp_path / f"late{suffix}"
    plain = folder / "plain.mp4"
    run("-itsoffset", "1.2", "-i", plain, "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    clip, at = made(asked(late, folder / "talk.srt", captions="side"), ctx)
    assert clip.captions is not None
    lines = (at / clip.captions.srt).read_text().splitlines()
    begin = lines[lines.index("and the second") - 1].split(" --> ")[0]
    assert float(begin.rpartition(":")[2].replace(",", ".")) == pytest.approx(
        1.9 - 1.2 - clip.start_s, abs=0.03
    )  # sound may begin with priming


@pytest.mark.parametrize(("tracks", "read"), [
    (("spa", "eng"), 1),
    (("eng:forced", "spa", "eng:hearing_impaired", "eng"), 3),
    (("spa", "fre"), 0),
    (("eng:hearing_impaired", "spa"), 0),
    (("eng:forced", "spa"), 1),
    (("und", "eng"), 0),  # may be in any language
])  # fmt: skip
def test_of_several_tracks_that_in_the_language_of_the_sound_is_read(
    folder: Path, tmp_path: Path, tracks: tuple[str, ...], read: int
) -> None:
    source, inputs, marks = tmp_path / "several.mkv", list[str | Path](), ["-metadata:s:a:0", "language=eng"]
    for n, track in enumerate(tracks):
        text = tmp_path / f"{n}.srt"
        text.write_text(f"1\n00:00:00,500 --> 00:00:02,000\ntrack {n}\n")
        language, _, disposition = track.partition(":")
        inputs += ["-i", text]
        marks += [f"-metadata:s:s:{n}", f"language={language}", f"-disposition:s:{n}", disposition or "0"]
    maps = [word for n in range(len(tracks)) for word in ("-map", f"{n + 1}:s")]
    run("-i", folder / "plain.mp4", *inputs, "-map", "0", *maps, *marks, "-c", "copy", source)
    request, ctx = asked(source), make_context(tmp_path / "data")
    key = transcribe(request, probe_source(request, ctx), ctx).key
    assert key is not None
    assert f"track {read}".encode() in ctx.store.get_bytes(key)


def test_a_transcript_is_read_once_for_a_content_and_a_text(folder: Path, tmp_path: Path) -> None:
    request, ctx = asked(folder / "told.mkv"), make_context(tmp_path)
    key = transcribe(request, probe_source(request, ctx), ctx).key
    assert key is not None
    assert transcript_ref(ctx).key == key
    content = ctx.store.get_bytes(key)
    assert b'"from"' in content
    ctx.store.delete(key)
    ctx.store.put_bytes(key, content.replace(b'"from"', b'"marked"'))
    again = make_context(tmp_path)
    assert transcribe(request, probe_source(request, again), again).key == key
    assert b'"marked"' in again.store.get_bytes(key)


def test_a_transcript_that_is_gone_is_read_anew_under_the_name_that_it_has_now(folder: Path, ctx: StageContext) -> None:
    request = asked(folder / "told.mkv")
    info = probe_source(request, ctx)
    ref = transcribe(request, info, ctx)
    place = transcript_ref_key(ctx.job_id)
    ctx.store.delete(place)
    ctx.store.put_bytes(
        place, ref.model_copy(update={"key": "analysis/gone/transcript-0.json"}).model_dump_json().encode()
    )
    assert transcribe(request, info, ctx) == ref == transcript_ref(ctx)


def test_reading_stops_when_the_job_does(folder: Path, ctx: StageContext) -> None:
    request = asked(folder / "told.mkv")
    info = probe_source(request, ctx)

    def stop(done_s: float, total_s: float) -> None:
        raise JobCancelled("enough")

    with pytest.raises(JobCancelled):
        transcribe(request, info, replace(ctx, report=stop))
    assert not ctx.store.exists(transcript_ref_key(ctx.job_id))


def test_subtitles_of_another_video_are_refused(folder: Path, ctx: StageContext, tmp_path: Path) -> None:
    (tmp_path / "late.srt").write_text("1\n01:00:00,000 --> 01:00:01,000\nlate\n")
    request = asked(folder / "plain.mp4", tmp_path / "late.srt")
    with pytest.raises(BadSubtitles, match=r"late\.srt.*2\.5 s"):
        transcribe(request, probe_source(request, ctx), ctx)


def test_a_clip_in_which_nothing_is_said_has_empty_files_and_says_so(folder: Path, ctx: StageContext) -> None:
    clip, at = made(
        asked(folder / "plain.mp4", folder / "talk.srt", captions="burn", ranges=[(0.0, 0.6)], min_length=1), ctx
    )
    assert clip.captions is not None
    assert (clip.captions.cues, clip.captions.burned) == (0, False)
    assert (at / clip.captions.vtt).read_text() == "WEBVTT\n"
    assert "nothing is said" in clip.warnings[0]


def test_a_store_with_an_odd_name_and_signs_that_no_font_has_do_no_harm(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.srt").write_text("1\n00:00:00,300 --> 00:00:02,000\nfine \U0010fffd then\n")
    ctx = make_context(tmp_path / "it's: [a], b;%d\\")
    clip, _ = made(asked(folder / "plain.mp4", tmp_path / "odd.srt", captions="burn"), ctx)
    assert next(check for check in clip.checks if check.name == "captions").found["seen"] > 0.9
    assert "U+10FFFD" in clip.warnings[0]


def test_an_ffmpeg_without_libass_is_told_before_the_work_begins(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "ffmpeg"
    bare.write_text("#!/bin/sh\necho ' .. scale V->V Scale.'\n")
    bare.chmod(0o755)
    request = asked(folder / "plain.mp4", folder / "talk.srt", captions="burn")
    ctx = make_context(tmp_path / "store", ffmpeg=str(bare))
    info = probe_source(request, ctx)
    with pytest.raises(ConfigError, match="libass") as caught:
        transcribe(request, info, ctx)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["{\\an8}top", "\\N\\N\\N\\N\\Nup", "{\\pos(0,0)}a", "a\\{\\an8\\}b", "x{\\p1}m 0 0"])
def test_text_is_drawn_as_text_whatever_tags_it_looks_like(text: str, tmp_path: Path) -> None:
    ink = drawn(text, tmp_path).max(axis=2) > 100
    rows, columns = np.nonzero(ink)
    assert rows.min() > 250  # where one line stands
    assert abs((columns.min() + columns.max()) / 2 - 320) < 20
    assert columns.max() - columns.min() > 7 * len(text)  # all of it


@pytest.mark.parametrize("size", [(540, 960), (600, 600), (480, 600), (640, 360)])
@pytest.mark.parametrize("style", ["spoken", "large"])
def test_captions_have_two_lines_at_most_within_the_safe_area(
    size: tuple[int, int], style: str, tmp_path: Path
) -> None:
    words = (
        "It is a long way to the river, and nobody knows whether Donaudampfschifffahrtsgesellschaftskapitän will come. "
        * 2
    )
    for at_s in (0.1, 0.6):
        ink = drawn(words.strip(), tmp_path, size, style, at_s).max(axis=2) > 100
        rows, columns = np.nonzero(ink)
        width, height = size
        assert columns.min() >= 0.05 * width
        assert columns.max() <= 0.95 * width
        assert rows.max() < height * (0.8 if height > 1.5 * width else 0.95)
        lines = np.diff(np.nonzero(np.diff(np.r_[0, ink.any(axis=1), 0].astype(int)))[0])[::2]
        assert sum(lines > 0.02 * height) <= (1 if style == "large" else 2)


def test_words_of_right_to_left_scripts_light_up_from_right_to_left(tmp_path: Path) -> None:
    places = [
        np.nonzero(yellow(drawn("שלום עולם טוב", tmp_path, style="spoken", at_s=at_s)))[1].mean()
        for at_s in (0.1, 0.5, 0.9)
    ]
    assert places == sorted(places, reverse=True)


def test_each_sign_has_a_font_or_is_told() -> None:
    chosen = choose_fonts("Grüße, Привет, γειά, مرحبا, שלום, नमस्ते, สวัสดี, გამარჯობა ♪ \U0010fffd\u200d")
    assert chosen.missing == {"\U0010fffd"}
    assert all(font.path is None for font in chosen.fonts)  # on a machine without any font, too


def test_a_folder_of_fonts_is_asked_before_the_machine(tmp_path: Path) -> None:
    from fontTools.fontBuilder import FontBuilder  # noqa: PLC0415
    from fontTools.ttLib.tables._g_l_y_f import Glyph  # noqa: PLC0415

    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "odd"])
    builder.setupCharacterMap({0x10FFFD: "odd"})
    builder.setupGlyf({".notdef": Glyph(), "odd": Glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "odd": (500, 0)})
    builder.setupHorizontalHeader()
    builder.setupNameTable({"familyName": "Odd Signs", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "odd.ttf")
    (tmp_path / "broken.ttf").write_bytes(os.urandom(2000))
    chosen = choose_fonts("a\U0010fffd", tmp_path)
    assert not chosen.missing
    assert chosen.font_of("\U0010fffd").family == "Odd Signs"

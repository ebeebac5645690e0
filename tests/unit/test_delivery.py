"""What the check of a rendered clip finds, and what it lets pass: each fault is put in by an ffmpeg that makes it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import Media, ffmpeg, run
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.errors import CheckFailed
from topclip.media.encode import Level
from topclip.media.look import look
from topclip.media.probe import probe
from topclip.model.clip import ClipSpec
from topclip.model.manifest import Manifest
from topclip.pipeline.check import silent_share
from topclip.pipeline.context import StageContext
from topclip.pipeline.resound import Tried, next_level
from topclip.pipeline.shares import picture_shares
from topclip.storage.base import job_folder


def faulty(folder: Path, *changes: tuple[str, str], once: bool = False, unless: str = "") -> str:
    """An ffmpeg whose arguments are changed on the way, if `once` those of its first run alone; `unless`: they have that word.
    It notes each run in `runs`.
    """
    path = folder / "ffmpeg"
    edits = "\n".join(f'a="${{a//{old}/{new}}}"' for old, new in changes)
    if once:
        edits = f'if [ ! -e "{folder}/runs" ]; then {edits}; fi'
    if unless:
        edits = f'if [[ " $* " != *" {unless} "* ]]; then {edits}; fi'
    path.write_text(
        f'#!/bin/bash\nargs=()\nfor a in "$@"; do\n{edits}\nargs+=("$a"); done\n'
        f'echo "$@" >>"{folder}/runs"\nexec "{ffmpeg()}" "${{args[@]}}"\n'
    )
    path.chmod(0o755)
    return str(path)


def manifest_of(path: Path, ctx: StageContext, **options: object) -> Manifest:
    wanted = {"mode": "ranges", "ranges": [[0.5, 3.5]], "quality": "draft", "aspect": "1:1", "fit": "pad", **options}
    return run_local.run(request_for(path, **wanted), ctx).manifest


FAULTS = {
    "black": (("setsar=1", "setsar=1,drawbox=t=fill:c=black"), "100% of it is black, of the source 0% at most"),
    "frozen": (("setsar=1", "setsar=1,drawbox=t=fill:c=gray"), "the picture stands still for 100% of it"),
    "silent": (("apad=", "volume=0:enable=gt(t\\\\,1.2),apad="), "of it is silent, of the source"),
    "colour": (
        ("colorspace=smpte170m", "colorspace=bt709"),
        "it says of its colours tv, bt709/smpte170m/smpte170m, wanted tv, smpte170m/",
    ),
}


@pytest.mark.parametrize(("change", "words"), FAULTS.values(), ids=FAULTS)
def test_a_clip_that_is_not_what_its_source_is_fails_with_the_reason(
    media: Media, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    ctx = make_context(tmp_path / "store", ffmpeg=faulty(tmp_path, change))
    with pytest.raises(CheckFailed, match="is not as it should be") as caught:
        manifest_of(media("short.mp4"), ctx, ranges=[[4.5, 7.5]])
    assert words in caught.value.message


def test_a_sound_clip_says_what_it_was_checked_for(media: Media, ctx: StageContext) -> None:
    (clip,) = manifest_of(media("short.mp4"), ctx, ranges=[[4.5, 7.5]]).clips
    assert all(check.ok for check in clip.checks)
    picture = {"streams", "pixel_format", "colour", "size", "decodes", "frames", "duration", "black", "frozen"}
    assert {check.name for check in clip.checks} == {
        *(*picture, "starts_together", "ends_together", "sound_length", "silent", "loudness", "true_peak")
    }


@pytest.mark.parametrize("begin", [0, 0.5], ids=["at the source's start", "within it"])
def test_what_went_wrong_once_is_repaired(media: Media, tmp_path: Path, begin: float) -> None:
    (change, _) = FAULTS["black"]
    ctx = make_context(tmp_path / "store", ffmpeg=faulty(tmp_path, change, once=True))
    (clip,) = manifest_of(media("short.mp4"), ctx, ranges=[[begin, 3.5]]).clips
    assert all(check.ok for check in clip.checks)
    assert (tmp_path / "runs").read_text().count("libx264") == 2


def test_silence_is_counted_after_a_pure_tone_too(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25", "-f", "lavfi", "-i", "aevalsrc='0.5*sin(700*t)':s=48000")
    silenced = ("-t", "10", "-ac", "2", "-af", "volume=0:enable='gte(t,2)'")
    run(*inputs, *silenced, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "flac", path)
    sound = look(path, lambda: None).sound
    assert sound is not None
    assert silent_share(sound) == pytest.approx(0.78, abs=0.04)


@pytest.mark.parametrize(
    ("picture", "sound"),
    [
        ("color=c=0x406080:s=320x180:r=25", "sine=f=300:r=48000"),
        ("color=c=black:s=320x180:r=25", "anoisesrc=a=0.1:seed=1:r=44100"),
        ("testsrc2=s=320x180:r=25", "aevalsrc='0.00003*sin(600*t)':s=48000"),
        ("color=c=black:s=320x180:r=25,drawbox=x=0:w=20:c=white:t=fill", "anullsrc=r=48000"),
        ("testsrc2=s=320x180:r=25,fade=in:st=0:d=3", "sine=f=300:r=8000"),
    ],
    ids=["still with sound", "black with sound", "hardly to be heard", "bright at the edge only", "fade from black"],
)
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_clip_may_be_what_its_source_is(
    tmp_path: Path, ctx: StageContext, picture: str, sound: str, fit: str
) -> None:
    path = tmp_path / "source.mkv"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", "4")
    run(*inputs, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "flac", path)
    manifest = manifest_of(path, ctx, fit=fit, ranges=[[0.2, 3.4]])
    assert not manifest.failed
    assert all(check.ok for check in manifest.clips[0].checks)


# --- sound ----------------------------------------------------------------------------------------------------

SOUNDS = {
    "peaks over little else": "aevalsrc='0.05*sin(1300*t)+0.9*lt(mod(t,1.1),0.05)*sin(19000*t)':s=48000",
    "what AAC takes away": "anoisesrc=a=0.4:seed=2:r=48000",
    "mono of 8000 Hz": "anoisesrc=c=pink:a=0.5:seed=4:r=8000",
    "5.1 at 44100 Hz": "aevalsrc='0.3*sin(900*t)|0.3*sin(950*t)|0.5*sin(2800*t)*lt(mod(t,1),0.4)|0|0.2*sin(t)|0':c=5.1:s=44100",
}


def heard_by_ffmpeg(path: Path) -> tuple[float, float]:
    """Integrated loudness and true peak by ffmpeg's own meter."""
    command = [ffmpeg(), "-nostdin", "-i", str(path), "-vn", "-af", "ebur128=peak=true", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    summary = said[said.rindex("Summary") :]
    return float(summary.split("I:")[1].split("LUFS")[0]), float(summary.split("Peak:")[1].split("dBFS")[0])


def test_a_peak_of_the_coders_own_is_mended_by_its_other_way(media: Media, tmp_path: Path) -> None:
    """FFmpeg's makes one of 4 dB at times, where a clip begins at its loudest: no limit touches it."""
    clicks = "+0.9*lt(t\\\\,0.01)"
    own = ("latency=1", f"latency=1,aeval=val(0){clicks}|val(1){clicks}")
    ctx = make_context(tmp_path / "store", ffmpeg=faulty(tmp_path, own, unless="fast"))
    (clip,) = manifest_of(media("short.mp4"), ctx, ranges=[[4.5, 7.5]]).clips
    assert all(check.ok for check in clip.checks)
    runs = (tmp_path / "runs").read_text()
    assert runs.count("libx264") == 1
    assert "-aac_coder fast" in runs


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
@pytest.mark.parametrize("target", [-14.0, -9.0])
def test_sound_comes_to_its_loudness_below_its_peak_and_the_picture_is_encoded_once(
    tmp_path: Path, sound: str, target: float
) -> None:
    path = tmp_path / "source.mkv"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25", "-f", "lavfi", "-i", sound, "-t", "8")
    run(*inputs, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "flac", path)
    ctx = make_context(tmp_path / "store", ffmpeg=faulty(tmp_path))
    (clip,) = manifest_of(path, ctx, ranges=[[0.5, 7.5]], loudness=target).clips
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as file:
        loudness, peak_db = heard_by_ffmpeg(file)
        assert look(file, lambda: None).pictures.n_frames == clip.frames
    assert loudness == pytest.approx(target, abs=0.55)  # the meter says one decimal
    assert peak_db <= -1.0
    assert (tmp_path / "runs").read_text().count("libx264") == 1


@pytest.mark.parametrize(
    "target", [-14.0, -6.4, *(pytest.param(t, marks=pytest.mark.faults) for t in (-6.8, -6.2, -6.0))]
)
def test_a_clip_whose_peaks_leave_no_room_is_made_as_loud_as_may_be_and_says_so(tmp_path: Path, target: float) -> None:
    path = tmp_path / "source.mkv"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25", "-f", "lavfi", "-i", "anoisesrc=c=white:a=0.05:seed=1")
    run(*inputs, "-t", "8", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "flac", path)
    ctx = make_context(tmp_path / "store")
    (clip,) = manifest_of(path, ctx, ranges=[[0.5, 7.5]], loudness=target).clips
    heard, peak = (next(check for check in clip.checks if check.name == name) for name in ("loudness", "true_peak"))
    assert heard.ok
    assert peak.ok
    assert heard.found > min(target, -9) - 0.5
    assert len(clip.warnings) == (heard.found < target - 0.5) == (target > -14)
    assert all(f"its loudness is {heard.found} LUFS, wanted {target}" in warning for warning in clip.warnings)
    ctx.store.delete(f"{job_folder(ctx.job_id)}/{clip.file}".replace(".mp4", ".json"))
    (again,) = manifest_of(path, ctx, ranges=[[0.5, 7.5]], loudness=target).clips
    assert again == clip


def test_a_level_follows_the_line_through_the_last_two() -> None:
    first = Tried(Level(10.0), loudness=-18.0, peak_db=-3.0)
    assert next_level([first], -14.0) == Level(14.0)
    second = Tried(Level(14.0), loudness=-16.0, peak_db=-1.5)
    assert next_level([first, second], -14.0) == Level(18.0)
    assert next_level([Tried(Level(3.0), loudness=-14.0, peak_db=-0.4)], -14.0) == Level(3.0, -2.25)
    louder = [Tried(Level(3.0, limit), loudness=-14.0, peak_db=-0.4) for limit in (-1.5, -2.25)]
    assert next_level(louder, -14.0) == Level(3.0, -3.15)
    assert next_level([Tried(Level(29.0), loudness=-30.0, peak_db=-9.0)], -14.0) == Level(30.0)
    quiet = Tried(Level(2.0), loudness=-30.0, peak_db=-1.5)  # but for a moment, which the limiter is to hold back
    assert next_level([quiet], -14.0) == Level(30.0)


def shares_shown(media: Media, grids: NDArray[np.uint8], changes: float = 9.0, **spec: object) -> tuple[float, float]:
    """What of a clip may be black, and stand still. grids: (n, 4, 8), mean greys of the parts at 25 frames a second."""
    info = probe(media("short.mp4"))
    n = len(grids)
    values = {"n": 1, "start_s": 0, "end_s": n / 25, "start_pts": 0, "end_pts": n, "frames": n, "loudness": -14}
    values |= {"aspect": "9:16", "fit": "crop", "quality": "draft", "source_loudness": None, **spec}
    pts = info.video.start_pts + np.arange(n) * round(1 / (25 * info.video.tick))
    changed = np.array([np.nan] + [changes] * (n - 1), np.float32)
    shares = picture_shares(info, ClipSpec.model_validate(values), pts, grids.reshape(n, -1), changed)
    return shares.black, shares.frozen


def test_a_crop_may_stand_still_and_be_dark_where_it_lies_but_not_where_nothing_is(media: Media) -> None:
    moving = np.full((40, 4, 8), 100, np.uint8) + 3 * np.arange(40, dtype=np.uint8)[:, None, None]
    assert shares_shown(media, moving) == (0, 0)
    edge = moving.copy()
    edge[:, :, 3:5] = 2
    assert shares_shown(media, edge) == (1, 1)
    assert shares_shown(media, edge, fit="pad")[0] == 0
    scattered = moving.copy()
    scattered[:, :, ::3] = 2
    assert shares_shown(media, scattered)[0] == 0
    beside = moving.copy()
    beside[:, :, 6:] = 2
    assert shares_shown(media, beside) == (0, 0)
    at_right = {"time_s": 0.8, "x": 0.86, "y": 0.5}
    cut, gone = ({**at_right, "cut": cut} for cut in (True, False))
    first = {"time_s": 0.0, "x": 0.3, "y": 0.5}
    assert shares_shown(media, beside, keyframes=[first, cut])[0] == pytest.approx(0.5, abs=0.03)
    assert 0.45 < shares_shown(media, beside, keyframes=[first, gone])[0] < 0.7
    assert shares_shown(media, beside, keyframes=[at_right]) == (1, 1)


@pytest.mark.parametrize(("fit", "black"), [("pad", 1), ("blur", 0)])
def test_bars_are_no_part_of_a_dark_picture(media: Media, tmp_path: Path, fit: str, black: int) -> None:
    dark = np.full((40, 4, 8), 10, np.uint8) + 3 * (np.arange(40, dtype=np.uint8) % 2)[:, None, None]
    assert shares_shown(media, dark, fit=fit)[0] == black
    path = tmp_path / "dark.mp4"
    run(
        "-f", "lavfi", "-i", "color=c=0x0A0A0A:s=320x180:r=25,drawbox=x=t*20:w=8:h=8:c=0x404040:t=fill", "-t", "4", path
    )
    ctx = make_context(tmp_path / "store")
    (clip,) = manifest_of(path, ctx, aspect="9:16", fit=fit, ranges=[[0.5, 3.5]]).clips
    (check,) = (check for check in clip.checks if check.name == "black")
    assert (check.ok, check.found) == (True, black)


def test_what_moves_slowly_does_not_stand_still_for_a_while(media: Media) -> None:
    slow = np.full((100, 4, 8), 100, np.uint8) + (np.arange(100, dtype=np.uint8) // 4)[:, None, None]
    assert shares_shown(media, slow, 0.3, fit="pad")[1] < 0.2
    noisy = np.full((100, 4, 8), 100, np.uint8) + np.random.default_rng(1).integers(0, 2, (100, 4, 8)).astype(np.uint8)
    assert shares_shown(media, noisy, 0.3, fit="pad")[1] > 0.4
    again = np.repeat(slow[::10], 10, axis=0) * 2
    assert shares_shown(media, again, 0.05, fit="pad")[1] == 1
    assert shares_shown(media, again)[1] == pytest.approx(0.9, abs=0.02)


def test_a_smart_cut_keeps_what_was_copied_when_its_sound_is_mended(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    sound = ("-f", "lavfi", "-i", SOUNDS["what AAC takes away"], "-t", "8", "-map", "0:v", "-map", "1:a")
    run("-i", media("pyramid.mp4"), *sound, "-c:v", "copy", "-c:a", "flac", path)
    ctx = make_context(tmp_path / "store", ffmpeg=faulty(tmp_path))
    manifest = manifest_of(path, ctx, aspect="source", ranges=[[1.3, 6.9]])
    (clip,) = manifest.clips
    assert (clip.method, clip.note) == ("smart", None)
    runs = (tmp_path / "runs").read_text().splitlines()
    assert [("libx264" in line, " -vn " in line) for line in runs] == [(True, False), (False, True)]
    folder = f"{job_folder(ctx.job_id)}/"
    ctx.store.delete(folder + clip.file.replace(".mp4", ".json"))
    assert manifest_of(path, ctx, aspect="source", ranges=[[1.3, 6.9]]) == manifest  # taken up, proved again
    assert len((tmp_path / "runs").read_text().splitlines()) == len(runs)


@pytest.mark.parametrize("aspect", ["source", "1:1"])
@pytest.mark.parametrize(("rate", "name"), [("24", "source.mkv"), ("30000/1001", "source.mkv"), ("24", "source.mp4")])
def test_a_clip_is_as_long_with_other_sound(tmp_path: Path, rate: str, name: str, aspect: str) -> None:
    """Also where times are rounded to milliseconds, as in Matroska, or lengths are none, as a 24th of a second."""
    path = tmp_path / name
    pictures = ("-f", "lavfi", "-i", f"testsrc2=s=320x180:r={rate}:d=9")
    sound = ("-f", "lavfi", "-i", SOUNDS["what AAC takes away"], "-t", "8", "-c:a", "flac")
    run(*pictures, *sound, "-c:v", "libx264", "-g", "24", "-bf", "3", path)
    ctx = make_context(tmp_path / "store", ffmpeg=faulty(tmp_path))
    (clip,) = manifest_of(path, ctx, aspect=aspect, ranges=[[1.3, 6.9]]).clips
    assert clip.note is None
    assert [" -vn " in line for line in (tmp_path / "runs").read_text().splitlines()] == [False, True]


@pytest.mark.parametrize(
    ("grey", "share"),
    [("120+mod(N,2)*lt(mod(X*7+Y*13,97),6)", 1.0), ("120+lt(mod(X*7+Y*13,97),N*2)", 0.0)],
    ids=["flickers", "moves slowly"],
)
def test_a_picture_that_but_flickers_stands_still(tmp_path: Path, grey: str, share: float) -> None:
    """As a coder may have it: one point of sixteen is a level brighter in every second frame. Or in turn, and stays so."""
    clip = tmp_path / "clip.mp4"
    drawn = f"color=gray:s=320x180:r=25:d=1.6,format=yuv420p,geq=lum='{grey}':cb=128:cr=128"
    run("-f", "lavfi", "-i", drawn, "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p", clip)
    assert look(clip, lambda: None).pictures.frozen == pytest.approx(share, abs=0.35)


@pytest.mark.parametrize("kind", ["mp4", "ts"])
@pytest.mark.parametrize("change", [("-colorspace", "smpte170m", "-color_trc", "smpte170m"), ("-vf", "scale=480:270")])
def test_no_frame_is_lost_where_joined_recordings_differ(tmp_path: Path, change: tuple[str, ...], kind: str) -> None:
    for name, more in (("a.ts", ()), ("b.ts", change)):
        made = (
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=25:d=3",
            "-c:v",
            "libx264",
            "-g",
            "25",
            "-pix_fmt",
            "yuv420p",
        )
        run(*made, *more, tmp_path / name)
    (tmp_path / "list").write_text("file a.ts\nfile b.ts\n")
    joined = tmp_path / f"joined.{kind}"
    run("-f", "concat", "-i", tmp_path / "list", "-c", "copy", joined)
    ctx = make_context(tmp_path / "store")
    for aspect in ("source", "9:16"):
        (clip,) = run_local.run(request_for(joined, mode="ranges", ranges=[[2, 4]], aspect=aspect), ctx).manifest.clips
        assert clip.frames == 50

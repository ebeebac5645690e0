"""Exports: right to the frame at drop-frame and varying rates and any offset of the source; names break nothing."""

import csv
import io
from fractions import Fraction
from xml.etree import ElementTree

import pytest

from tests.unit.test_select import make_analysis, make_info
from topclip.exports import KINDS, cut_list
from topclip.exports.timecode import Rate, rate_of
from topclip.model.clip import Plan
from topclip.model.framing import Framing, Keyframe
from topclip.model.request import ClipOptions
from topclip.model.source import SourceInfo
from topclip.pipeline.select import select_clips

NAME = 'a <b> & "c";\n=ü.mp4'


def source(fps: str, time_base: str = "1/30000", start_pts: int = 0, timecode: str | None = None) -> SourceInfo:
    info = make_info(7200.0, start_pts)
    video = info.video.model_copy(update={"fps": fps, "time_base": time_base})
    return info.model_copy(update={"video": video, "name": NAME, "timecode": timecode})


def plan_of(info: SourceInfo, *frames: tuple[int, int]) -> Plan:
    """A plan of clips that are these frames [first, end) of the source."""
    ranges = ((10.0, 20.0), (30.0, 40.0))[: len(frames)]
    made = select_clips(
        make_info(60), make_analysis(60), ClipOptions.model_validate({"mode": "ranges", "ranges": ranges})
    )
    ticks, tick = 1 / info.video.rate / info.video.tick, info.video.tick
    spans = [tuple(info.video.start_pts + round(f * ticks) for f in pair) for pair in frames]
    highlights = [
        h.model_copy(update={
            "start_pts": a, "end_pts": b, "frames": f[1] - f[0],
            "start_s": float((a - info.video.start_pts) * tick), "end_s": float((b - info.video.start_pts) * tick),
        })
        for h, (a, b), f in zip(made.highlights, spans, frames, strict=True)
    ]  # fmt: skip
    return made.model_copy(update={"highlights": tuple(highlights)})


def exported(kind: str, info: SourceInfo, *frames: tuple[int, int]) -> str:
    return KINDS[kind].write(cut_list(plan_of(info, *frames), info, "a%20b.mp4"))


# From SMPTE ST 12-1: numbers 0 and 1 of each minute but every tenth are left out (0 to 3 at the double rate).
DROPPED = [
    ("30000/1001", 0, "00:00:00;00"), ("30000/1001", 1799, "00:00:59;29"), ("30000/1001", 1800, "00:01:00;02"),
    ("30000/1001", 17981, "00:09:59;29"), ("30000/1001", 17982, "00:10:00;00"), ("30000/1001", 107892, "01:00:00;00"),
    ("60000/1001", 3599, "00:00:59;59"), ("60000/1001", 3600, "00:01:00;04"), ("60000/1001", 215784, "01:00:00;00"),
    ("24000/1001", 86400, "01:00:00:00"), ("25/1", 90000, "01:00:00:00"), ("30/1", 1800, "00:01:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("fps", "frame", "timecode"), DROPPED)
def test_timecodes_count_as_editing_programs_do(fps: str, frame: int, timecode: str) -> None:
    rate = rate_of(source(fps))
    assert rate.timecode(frame) == timecode
    assert rate.frame_of(timecode) == frame


def test_every_timecode_leads_back_to_its_frame() -> None:
    rate = Rate(Fraction(30000, 1001), 30, is_drop=True)
    frames = [*range(0, 40_000, 7), *range(1790, 1810), *range(17_970, 17_990)]
    assert [rate.frame_of(rate.timecode(f)) for f in frames] == frames
    assert len({rate.timecode(f) for f in frames}) == len(set(frames))


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        ("2997/100", "30000/1001"),
        ("30000000/1000999", "30000/1001"),
        ("30/1", "30"),
        ("15/1", "15"),
        ("2683/100", "25"),
        ("25/2", "25"),
    ],
)
def test_a_rate_that_varies_or_was_rounded_is_the_nearest_usual_one(fps: str, exact: str) -> None:
    assert rate_of(source(fps)).exact == Fraction(exact)


def test_a_rate_that_varies_is_the_one_that_its_frames_fall_on() -> None:
    varies = source("143/10")
    assert rate_of(varies).exact == Fraction(24000, 1001)
    assert rate_of(varies.model_copy(update={"base_fps": "25/1"})).exact == 25
    assert rate_of(varies.model_copy(update={"base_fps": "90000/1"})).exact == Fraction(24000, 1001)
    assert rate_of(source("25/1").model_copy(update={"base_fps": "50/1"})).exact == 25


def test_an_edl_of_drop_frame_says_so_and_counts_right() -> None:
    text = exported("edl", source("30000/1001", start_pts=90_000), (1800, 2100), (17982, 18000))
    lines = text.splitlines()
    assert lines[:2] == ['TITLE: a <b> & "c"; =ü.mp4', "FCM: DROP FRAME"]
    events = [line.split() for line in lines if line[:3].isdigit()]
    assert events == [
        ["001", "AX", "AA/V", "C", "00:01:00;02", "00:01:10;02", "01:00:00;00", "01:00:10;00"],
        ["002", "AX", "AA/V", "C", "00:10:00;00", "00:10:00;18", "01:00:10;00", "01:00:10;18"],
    ]


def test_an_edl_counts_from_the_sources_own_timecode() -> None:
    drop = exported("edl", source("30000/1001", timecode="10:00:00;00"), (1800, 1830)).splitlines()
    assert drop[3].split()[4:6] == ["10:01:00;02", "10:01:01;02"]
    non_drop = exported("edl", source("30000/1001", timecode="10:00:00:00"), (1800, 1830)).splitlines()
    assert non_drop[1] == "FCM: NON-DROP FRAME"
    assert non_drop[3].split()[4:] == ["10:01:00:00", "10:01:01:00", "01:00:00:00", "01:00:01:00"]


def test_a_source_without_sound_has_no_sound_in_its_edl() -> None:
    silent = source("25/1", "1/25000").model_copy(update={"audio": None})
    assert exported("edl", silent, (0, 25)).splitlines()[3].split()[:4] == ["001", "AX", "V", "C"]


def test_fcpxml_is_whole_frames_of_the_rate_and_lies_within_its_asset() -> None:
    text = exported("fcpxml", source("30000/1001", start_pts=3003, timecode="01:00:00;00"), (1800, 2100), (300, 307))
    root = ElementTree.fromstring(text)
    frame = Fraction(1001, 30000)

    def seconds(value: str | None) -> Fraction:
        assert value
        assert value.endswith("s")
        return Fraction(value[:-1])

    asset, clips = root.find("resources/asset"), list(root.iter("asset-clip"))
    assert asset is not None
    assert (asset.get("name"), len(clips)) == ('a <b> & "c"; =ü.mp4', 2)
    assert seconds(asset.get("start")) == 107_892 * frame
    assert [[seconds(c.get(name)) / frame for name in ("offset", "start", "duration")] for c in clips] == [
        [0, 107_892 + 1800, 300],
        [300, 107_892 + 300, 7],
    ]
    sequence = next(root.iter("sequence"))
    assert (seconds(sequence.get("duration")) / frame, sequence.get("tcFormat")) == (307, "DF")
    ids = {element.get("id") for element in root.find("resources") or ()}
    assert {c.get("ref") for c in clips} | {c.get("format") for c in clips} <= ids


def framed(keyframes: tuple[tuple[float, float, float], ...], method: str = "faces") -> Framing:
    found = tuple(Keyframe(time_s=t, x=x, y=y) for t, x, y in keyframes)
    return Framing.model_validate({"method": method, "reason": "", "evidence": 1.0, "keyframes": found})


def test_fcpxml_has_the_clips_shape_and_moves_each_picture_to_where_its_framing_stands() -> None:
    info = source("25/1", "1/25000")
    plan = plan_of(info, (250, 500), (0, 50))
    framings = (framed(((10.0, 0.3, 0.5),)), framed((), "blur"))
    clips = tuple(h.model_copy(update={"framing": f}) for h, f in zip(plan.highlights, framings, strict=True))
    plan = plan.model_copy(update={"highlights": clips, "options": {**plan.options, "aspect": "9:16"}})
    root = ElementTree.fromstring(KINDS["fcpxml"].write(cut_list(plan, info, "a.mp4")))
    shape = next(f for f in root.iter("format") if f.get("id") == next(root.iter("sequence")).get("format"))
    width, height = info.video.display_width, info.video.display_height
    assert int(shape.get("height") or 0) == height
    assert int(shape.get("width") or 0) == pytest.approx(height * 9 / 16, abs=2)
    cut, whole = root.iter("asset-clip")
    assert [element.tag for element in cut] == [
        "note",
        "adjust-conform",
        "adjust-transform",
    ]  # the order that the DTD asks for
    x, y = (float(value) for value in (cut[2].get("position") or "").split())
    assert (x * height / 100, y) == (pytest.approx((0.5 - 0.3) * width, abs=0.1), 0)
    assert [element.tag for element in whole] == ["note"]
    same = ElementTree.fromstring(exported("fcpxml", info, (250, 500)))
    assert [len(list(same.iter(name))) for name in ("format", "adjust-transform")] == [1, 0]


def test_fcpxml_says_where_a_framing_moves_and_stands_where_it_is_longest() -> None:
    info = source("25/1", "1/25000")
    plan = plan_of(info, (250, 500))
    moving = framed(((10.0, 0.3, 0.5), (12.0, 0.6, 0.5)))
    plan = plan.model_copy(update={
        "highlights": (plan.highlights[0].model_copy(update={"framing": moving}),),
        "options": {**plan.options, "aspect": "9:16"},
    })  # fmt: skip
    (clip,) = ElementTree.fromstring(KINDS["fcpxml"].write(cut_list(plan, info, "a.mp4"))).iter("asset-clip")
    assert "its framing moves" in (clip[0].text or "")
    assert float((clip[2].get("position") or "").split()[0]) < 0


def test_a_table_has_a_row_a_clip() -> None:
    rows = list(csv.DictReader(io.StringIO(exported("csv", source("25/1", "1/25000"), (250, 500), (0, 50)))))
    assert [(r["n"], r["start_s"], r["duration_s"], r["frames"], r["start_timecode"]) for r in rows] == [
        ("1", "10.0", "10.0", "250", "00:00:10:00"),
        ("2", "0.0", "2.0", "50", "00:00:00:00"),
    ]
    assert float(rows[0]["loudness"]) + float(rows[0]["motion"]) == pytest.approx(float(rows[0]["score"]))


def test_chapters_are_in_the_order_of_the_source_and_begin_at_its_start() -> None:
    info = source("25/1", "1/25000")
    assert exported("chapters", info, (100_000, 100_250), (250, 500)) == "0:00 Start\n0:10 Clip 2\n1:06:40 Clip 1\n"
    assert exported("chapters", info, (0, 25)) == "0:00 Clip 1\n"


def test_ffmetadata_escapes_what_means_something_there() -> None:
    lines = exported("ffmetadata", source("25/1", "1/25000"), (100, 125)).splitlines()
    assert lines[:2] == [";FFMETADATA1", 'title=a <b> & "c"\\; \\=ü.mp4']
    assert lines[2:] == ["[CHAPTER]", "TIMEBASE=1/1000", "START=4000", "END=5000", "title=Clip 1"]

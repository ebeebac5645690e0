"""An audience's curve: files as people have them, the signal that they become, and the plan that it moves."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cli.local import plan as plan_command
from cli.main import run as run_command
from tests.media import Media
from tests.unit.conftest import make_context, request_for
from tests.unit.test_cli_local import run
from tests.unit.test_select import choose, make_analysis, make_info
from topclip import run_local
from topclip.analysers import TELLING, Told
from topclip.analysers.tracks import Array
from topclip.errors import BadAudience, SourceNotFound
from topclip.model.audience import AudienceCurve
from topclip.model.clip import Plan
from topclip.model.request import ClipRequest, MediaPath
from topclip.pipeline.audience_file import read_curve
from topclip.pipeline.merge import with_told
from topclip.pipeline.plot import draw_plan
from topclip.text_files import MAX_BYTES

WANTED = {0.5: 3.0, 1.0: -4.25, 2.5: 1000.0}
CSV = "time,chat rate\n1,-4.25\n0.5,3\n\n2.5,1e3\n"


def curve(*points: tuple[float, float]) -> AudienceCurve:
    return AudienceCurve(times_s=tuple(t for t, _ in points), values=tuple(v for _, v in points))


def values_of(found: AudienceCurve, n_hops: int) -> Array:
    signal = TELLING["audience"](Told((), n_hops, curve=found))
    assert signal is not None
    assert (signal.name, signal.values.shape, signal.values.dtype) == ("audience", (n_hops,), np.float32)
    return signal.values


@pytest.mark.parametrize(
    "content",
    [
        CSV.encode(),
        CSV.encode("utf-8-sig"),
        CSV.encode("utf-16"),
        CSV.replace("\n", "\r\n").encode(),
        CSV.replace("\n", "\r").encode(),
        CSV.replace(",", "\t").encode(),
        CSV.replace(",", " ; ").encode(),
        CSV.replace(",", ";").replace("0.5", "0,5").replace("4.25", "4,25").encode(),  # as some countries write numbers
        b'"1.0","-4.25"\n".5","+3."\n"2.5","1000"',
        b"[[1, -4.25], [0.5, 3],\n [2.5, 1e3]]\n",
        b"\n [ [1,-4.25] ,\n[0.5,3.0],[2.5,1000] ] ",
        b"0.5,2\n1,-4.25\n0.5,4\n2.5,1000\n",  # a time that stands twice
    ],
)
def test_a_file_is_read_right_whatever_its_form(content: bytes) -> None:
    found = read_curve(content, "chat.csv")
    assert dict(zip(found.times_s, found.values, strict=True)) == WANTED
    assert list(found.times_s) == sorted(found.times_s)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no pair"),
        (b" \n\n", "holds no pair"),
        (b"time,value\n", "holds no pair"),
        (b"[]", "holds no pair"),
        (b"5,1\n5,2\n", "one time only"),
        (b"time,value\n1,2\ntwo,3\n", "line 3: 'two' is no number"),
        (b"1,2\ntime,value\n", "line 2: 'time' is no number"),
        (b"1,2\n0:01:30,3\n", "line 2: '0:01:30' is no number"),
        (b"1,2\n\n3,nan\n", "line 3: nan is no value"),
        (b"1,2\nInfinity,3\n", "line 2: inf is no time"),
        (b"1,2\n3,1e999\n", "line 2: inf is no value"),
        (b"1,2\n3,1e16\n", "line 2: 1e+16 is no value"),
        (b"1e8,2\n3,1\n", "line 1: 1e+08 is no time"),
        (b"1,2\n3,4,5\n", "line 2: '3,4,5' is no pair"),
        (b"1,2\n3\n", "line 2: '3' is no pair"),
        (b"1,5,2,5\n", "line 1: '1,5,2,5' is no pair"),
        ("1,2\n\u0663,4\n5,1_0\n".encode(), "line 3: '1_0' is no number"),
        (b"1,2\n3,\xe9\n", "line 2: not UTF-8 text"),
        (b"1,2\n3,4\0\n", "line 2: no text, but binary data"),
        (b"\x89PNG\r\n\x1a\n", "line 1: not UTF-8 text"),
        (b"1,2\n" * (MAX_BYTES // 4 + 1), "larger than 8 MiB"),
        (b'{"t": [1, 2]}', "line 1: the JSON is no list"),
        (b"[[1, 2],\n[3, NaN]]", "line 2: nan is no value"),
        (b"[[1, 2],\n[3, -Infinity]]", "line 2: -inf is no value"),
        (b"[[1, 2],\n\n[3, null]]", "line 3: [3.0, null] is no pair"),
        (b"[[1, 2],\n[3, true]]", "line 2: [3.0, true] is no pair"),
        (b"[[1, 2],\n{\"t\": 3}]", "line 2: {\"t\": 3.0} is no pair"),
        (b"[[1, 2],\n[3 4]]", "line 2: no JSON"),
        (b"[[1, 2]\n[3, 4]]", "line 2: a comma or the list's end is missing"),
        (b"[[1, 2],\n[3, 4]", "line 2: a comma or the list's end is missing"),
        (b"[[1, 2],\n[3, 4],", "line 2: no JSON"),
        (b"[[1, 2],[3, 4]]\n[]", "line 2: something follows|line 1: something follows"),
        (b"[" * 200_000, "line 1"),
        (b"[[1, " + b"9" * 5000 + b"],[2,3]]", "line 1: inf is no value"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_with_its_name_and_line(content: bytes, words: str) -> None:
    with pytest.raises(BadAudience) as caught:
        read_curve(content, "chat.csv")
    assert caught.value.message.startswith("chat.csv")
    assert any(part in caught.value.message for part in words.split("|"))
    assert (caught.value.detail["field"], bool(caught.value.hint)) == ("audience", True)


def test_the_curve_goes_straight_from_value_to_value_and_is_the_mean_where_there_are_more() -> None:
    sparse = values_of(curve((-5, 0), (5, 10), (15, 0)), 40)
    middles_s = np.arange(40) * 0.5 + 0.25
    wanted = np.where(middles_s < 5, middles_s + 5, 15 - middles_s)
    assert np.abs(np.delete(sparse, 10) - np.delete(wanted, 10)).max() < 5.01  # the hop of a value is that value
    assert sparse[10] == 10
    assert sparse[[0, 4, 20]] == pytest.approx([5.25, 7.25, 4.75])
    dense = values_of(curve(*((t / 10, float(t % 5)) for t in range(100))), 20)
    assert dense == pytest.approx(np.full(20, 2.0))


def test_gaps_and_what_lies_beyond_the_curve_are_unknown() -> None:
    points = [(float(t), 1.0 + t % 3) for t in range(20, 40)] + [(float(t), 1.0) for t in range(60, 70)]
    known = np.isfinite(values_of(curve(*points), 200))
    middles_s = np.arange(200) * 0.5 + 0.25
    assert known[(middles_s > 20) & (middles_s < 39.5)].all()
    assert known[(middles_s > 60) & (middles_s < 69.5)].all()
    assert not known[(middles_s < 18.9) | ((middles_s > 40.1) & (middles_s < 59.9)) | (middles_s > 70.1)].any()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_unit_of_a_curve_does_not_count(scale: float) -> None:
    points = [(float(t), math.sin(t) * scale) for t in range(50)]
    ranks = np.argsort(values_of(curve(*points), 98)[::2])
    assert ranks.tolist() == np.argsort([math.sin(t) for t in range(49)]).tolist()


def test_a_curve_moves_the_choice_and_is_drawn() -> None:
    info, base = make_info(200), make_analysis(200, loud=((40, 50),))
    cheered = curve(*((float(t), 50.0 if 150 < t < 160 else 1.0 + t % 2) for t in range(0, 250, 2)))
    analysis = with_told(info, base, (), curve=cheered)
    for weight, low, high in ((0, 30, 50), (4, 140, 160)):
        weights = {"loudness": 1, "motion": 0.6, "audience": weight}
        made = choose(200, analysis, count=1, min_length=8, max_length=15, weights=weights)
        assert low < made.highlights[0].start_s < high
        (part,) = [part for part in made.highlights[0].signals if part.name == "audience"]
        assert (part.weight > 0) == (weight > 0)
    assert "audience" in draw_plan(made, analysis)
    assert "audience" not in {part.name for part in choose(200, base, count=1).highlights[0].signals}


def asked(source: Path, path: Path, **options: object) -> ClipRequest:
    request = request_for(source, mode="plan", count=2, min_length=3, max_length=6, **options)
    return request.model_copy(update={"audience": MediaPath(path=str(path), name=path.name)})


def test_a_plan_rests_on_its_curve_which_is_kept_for_other_weights(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "chat.csv"
    path.write_text("".join(f"{t},{t % 7}\n" for t in range(60)))
    source, ctx = media("base.mp4"), make_context(tmp_path / "store")
    other = make_context(tmp_path / "store")
    plans = [run_local.run(asked(source, path), ctx).plan_key]
    path.unlink()
    plans.append(run_local.run(asked(source, path, weights={"audience": 0.5}), ctx).plan_key)
    weights = []
    for key in plans:
        parts = Plan.model_validate_json(ctx.store.get_bytes(key)).highlights[0].signals
        weights += [part.weight for part in parts if part.name == "audience"]
    assert len(weights) == 2
    assert weights[0] > weights[1] > 0
    path.write_text("".join(f"{t},{-t % 5}\n" for t in range(60)))
    plans.append(run_local.run(asked(source, path), other).plan_key)
    assert len({key.rpartition("/")[2] for key in plans}) == 3
    path.write_text("100,1\n200,2\n")
    with pytest.raises(BadAudience, match=r"chat\.csv: no value lies within the source's"):
        run_local.run(asked(source, path), make_context(tmp_path / "store"))
    with pytest.raises(SourceNotFound, match=r"no\.csv"):
        run_local.run(asked(source, tmp_path / "no.csv"), make_context(tmp_path / "store"))


def test_the_command_takes_a_curve(tmp_path: Path, media: Media, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([[t, t % 7] for t in range(60)]))
    flags = ("--count", 1, "--min-length", 3, "--max-length", 6, "--audience", path)
    document = json.loads(run(plan_command, media("base.mp4"), *flags, "--json"))
    assert "audience" in {part["name"] for part in document["highlights"][0]["signals"]}
    path.write_text("[[1, 2],\n[2, 3,]]")
    assert run_command(["plan", str(media("base.mp4")), "--audience", str(path)]) == 2
    assert "chat.json, line 2" in capsys.readouterr().err

"""The optional transcriber up to its boundary: a fake in the place of the library, which is what it would be given."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.media import AAC, X264, run
from tests.unit.conftest import make_context, request_for
from topclip.errors import JobCancelled, NoTranscriber
from topclip.media import transcriber
from topclip.pipeline.context import StageContext
from topclip.pipeline.probe import probe_source
from topclip.pipeline.transcribe import transcribe
from topclip.pipeline.transcript import load_transcript


class FakeModel:
    """Hears a word where the sound is loud; refuses a model that is not there, as the library does."""

    made: list[dict[str, Any]] = []  # noqa: RUF012 - what was asked for, told to the tests

    def __init__(self, name: str, **options: Any) -> None:
        type(self).made.append({"name": name, **options})
        if name == "absent":
            raise FileNotFoundError("cannot find the model in the cache")

    def transcribe(self, samples: Any, **options: Any) -> tuple[Any, Any]:
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert options["word_timestamps"]
        loud = np.abs(samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)).max(axis=1) > 0.05
        starts = np.nonzero(np.diff(np.r_[False, loud].astype(int)) == 1)[0] / 10
        words = [
            SimpleNamespace(word=f" word{n}.", start=float(at), end=float(at) + 0.4) for n, at in enumerate(starts)
        ]
        return iter([SimpleNamespace(end=word.end, words=[word]) for word in words]), None


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> type[FakeModel]:
    module = ModuleType("faster_whisper")
    module.WhisperModel = FakeModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    FakeModel.made.clear()
    return FakeModel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s of which half a second from 1, 3 and 5 s is heard; the sound begins half a second after the picture."""
    path = tmp_path_factory.mktemp("spoken") / "spoken.mkv"
    tone = "aevalsrc=0.5*sin(2000*t)*lt(mod(t-0.5\\,2)\\,0.5):d=5.5"
    picture = ["-f", "lavfi", "-i", "color=gray:s=64x36:r=10:d=6"]
    run(*picture, "-itsoffset", "0.5", "-f", "lavfi", "-i", tone, *X264, *AAC, path)
    return path


def wanted(source: Path) -> Any:
    return request_for(source, mode="ranges", ranges=[(0.5, 5.5)], captions="side", transcribe=True)


def test_words_come_with_their_times_on_the_sources_clock(
    model: type[FakeModel], source: Path, ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcriber, "WINDOW_S", 3)
    monkeypatch.setattr(transcriber, "QUIET_S", 1)
    request = wanted(source)
    done: list[float] = []
    ctx = StageContext(**{**vars(ctx), "whisper_model": "tiny", "report": lambda done_s, total_s: done.append(done_s)})
    key = transcribe(request, probe_source(request, ctx), ctx).key
    assert key is not None
    words = load_transcript(ctx, key).words
    assert [round(word.start_s) for word in words] == [1, 3, 5]
    assert all(abs(word.start_s - round(word.start_s)) < 0.11 and word.is_timed for word in words)
    assert max(done) > 5
    assert [(made["name"], made["local_files_only"]) for made in model.made] == [("tiny", True)]
    again = make_context(Path(str(ctx.store.root)), whisper_model="tiny")  # type: ignore[attr-defined]
    assert transcribe(request, probe_source(request, again), again).key == key
    assert len(model.made) == 1


def test_words_stay_where_they_are_when_the_sound_changes_its_channels(
    model: type[FakeModel], ctx: StageContext, tmp_path: Path
) -> None:
    """A broadcast goes from stereo to 5.1 after 3 s; half a second from 0.5 and 2.5 s of each part is heard."""
    both = b""
    for begin, layout, n in ((0, "stereo", 2), (3, "5.1", 6)):
        tone = "0.5*sin(2000*t)*lt(mod(t-0.5\\,2)\\,0.5)*gt(t\\,0.4)"
        part = tmp_path / f"{n}.ts"
        picture = ["-f", "lavfi", "-i", "color=gray:s=64x36:r=10:d=3"]
        sound = ["-f", "lavfi", "-i", f"aevalsrc={'|'.join([tone] * n)}:c={layout}:d=3"]
        clock = ["-output_ts_offset", str(begin), "-muxdelay", "0", "-muxpreload", "0"]
        run(*picture, *sound, *X264, *AAC, *clock, part)
        both += part.read_bytes()
    (tmp_path / "both.ts").write_bytes(both)
    request = wanted(tmp_path / "both.ts")
    key = transcribe(request, probe_source(request, ctx), ctx).key
    assert key is not None
    starts = [word.start_s for word in load_transcript(ctx, key).words]
    assert starts == pytest.approx([0.5, 2.5, 3.5, 5.5], abs=0.2)


def test_a_model_that_is_not_there_is_told_and_nothing_is_fetched(
    model: type[FakeModel], source: Path, ctx: StageContext
) -> None:
    ctx = StageContext(**{**vars(ctx), "whisper_model": "absent"})
    with pytest.raises(NoTranscriber, match="absent") as caught:
        transcribe(wanted(source), probe_source(wanted(source), ctx), ctx)
    assert "TOPCLIP_WHISPER_MODEL" in str(caught.value.hint)
    assert model.made[0]["local_files_only"] is True


def test_without_the_extra_it_says_how_to_install_it(
    source: Path, ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(NoTranscriber, match="no transcriber") as caught:
        transcribe(wanted(source), probe_source(wanted(source), ctx), ctx)
    assert "topclip[whisper]" in str(caught.value.hint)


def test_recognising_stops_when_the_job_does(model: type[FakeModel], source: Path, ctx: StageContext) -> None:
    info = probe_source(wanted(source), ctx)

    def stop(done_s: float, total_s: float) -> None:
        if done_s > 2:
            raise JobCancelled("enough")

    with pytest.raises(JobCancelled):
        transcribe(wanted(source), info, StageContext(**{**vars(ctx), "whisper_model": "tiny", "report": stop}))

"""The analysis of a whole source, merged from its chunks once and kept: other jobs on the same content, and other options of a
job, only read it. Merging compares seconds with seconds, which for hours of source takes longer than choosing."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from topclip.analysers.tracks import ANALYSIS_VERSION, Tracks
from topclip.model.analysis import Analysis, Shot, Signal
from topclip.model.source import SourceInfo
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import kept, must_be_kept
from topclip.pipeline.merge import merge_chunks
from topclip.pipeline.select import PLAN_VERSION
from topclip.storage.base import chunk_key, whole_key

PLAIN = tuple(f.name for f in fields(Analysis) if f.name not in ("signals", "shots", "words"))
"""Arrays and numbers, kept as they are. Words come from the transcript, which is another for each job."""


def load_analysis(info: SourceInfo, ctx: StageContext) -> Analysis:
    """The whole source's analysis; all its chunks must have been analysed.

    Raises: ArtifactMissing where one was not, or cannot be read any more; DecodeError, StorageError.
    """
    key = whole_key(info.sha256, ANALYSIS_VERSION, _digest(info))
    if analysis := kept(key, from_bytes, ctx.store):
        return analysis
    analysis = merge_chunks(info, _parts(info, ctx))
    ctx.store.put_bytes(key, to_bytes(analysis))
    return analysis


def _parts(info: SourceInfo, ctx: StageContext) -> Iterator[Tracks]:
    for chunk in plan_chunks(info):
        yield must_be_kept(chunk_key(info.sha256, ANALYSIS_VERSION, chunk.index), Tracks.from_bytes, ctx.store)
        ctx.report(0.0, 1.0)


def _digest(info: SourceInfo) -> str:
    """All that merging rests on beside the chunks; what the file is called does not count."""
    rests_on = [info.model_dump(mode="json", exclude={"name", "timecode", "base_fps"}), PLAN_VERSION]
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]


def to_bytes(analysis: Analysis) -> bytes:
    """An analysis as an npz file."""
    shots, signals = analysis.shots, analysis.signals
    arrays: dict[str, Any] = {
        "shot_frames": np.array([(s.start_frame, s.end_frame) for s in shots], np.int64),
        "shot_times": np.array([(s.start_s, s.end_s) for s in shots], np.float64),
        "names": np.array([s.name for s in signals], np.str_),
        "hops_s": np.array([s.hop_s for s in signals], np.float64),
        **{f"signal_{i}": s.values for i, s in enumerate(signals)},
        **{name: getattr(analysis, name) for name in PLAIN},
    }
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def from_bytes(content: bytes) -> Analysis:
    """The analysis back, to the bit. Raises: UNREADABLE."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        named = zip(found["names"].tolist(), found["hops_s"].tolist(), strict=True)
        spans = zip(found["shot_frames"].tolist(), found["shot_times"].tolist(), strict=True)
        plain = {name: found[name] for name in PLAIN}
        return Analysis(
            **(plain | {"end_pts": int(plain["end_pts"])}),
            signals=tuple(Signal(name, hop_s, found[f"signal_{i}"]) for i, (name, hop_s) in enumerate(named)),
            shots=tuple(Shot(start_frame=a, end_frame=b, start_s=c, end_s=d) for (a, b), (c, d) in spans),
        )

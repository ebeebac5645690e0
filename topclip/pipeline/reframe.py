"""Stage reframe: look for the subject of one clip. Decides nothing: that is left to framing, which needs no pictures."""

import hashlib
import json
import os
from bisect import bisect_right
from pathlib import Path

import numpy as np

from topclip.analysers.attention import shrink
from topclip.analysers.evidence import EVIDENCE_VERSION, Evidence, EvidenceTaker
from topclip.media.faces import Boxes, FaceFinder, net_size
from topclip.media.limits import within_memory
from topclip.media.samples import Sample, Sampling, read_samples, sample_file
from topclip.model.framing import Outlook, Sighting
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import kept
from topclip.pipeline.source import source_path
from topclip.storage.base import evidence_key

FACES_EVERY, STILL_EVERY = 2, 4
"""Faces are looked for in each second picture, since that costs most, and in each fourth one while they stay where they are."""
SAME = 15
"""Thousandths of the picture by which a face that stays may seem to move."""
SHRINK = 4
READ_SHARE = 0.6
"""Of the stage's time that it takes to decode; the rest is looking."""


def look_for_subject(request: ClipRequest, info: SourceInfo, outlook: Outlook, ctx: StageContext) -> Sighting:
    """Keep what is seen of a clip's subject, under the source's content and shared by all jobs on it.

    Raises: MediaError if the source cannot be decoded or takes too much, StorageError, SourceNotFound, JobStopped.
    """
    key = evidence_key(info.sha256, _digest(info, outlook))
    if kept(key, Evidence.from_bytes, ctx.store) is None:
        with source_path(request, ctx, info) as path:
            ctx.store.put_bytes(key, gather(path, info, outlook, ctx).to_bytes())
    return Sighting(n=outlook.n, key=key)


def _digest(info: SourceInfo, outlook: Outlook) -> str:
    rests_on = [info.video.to_dict(), {**outlook.to_dict(), "n": 0}, EVIDENCE_VERSION]
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]


class _Watch:
    """Looks for faces as often as they ask for it."""

    def __init__(self) -> None:
        self._finder = FaceFinder()  # of its own: clips may be looked at side by side in one process
        self._last: Boxes | None = None
        self._every, self._since, self._shot = FACES_EVERY, 0, -1

    def look(self, sample: Sample, outlook: Outlook) -> Boxes | None:
        """The faces of the next picture; None: it is not looked at."""
        self._since, before = self._since + 1, self._shot
        self._shot = bisect_right(outlook.cut_pts, sample.pts)
        if self._shot == before and self._since < self._every:
            return None
        found = self._finder.find(np.ascontiguousarray(sample.rgb()))
        last = self._last
        is_still = last is not None and found.shape == last.shape and np.abs(found - last)[:, :4].max(initial=0) <= SAME
        self._every, self._since, self._last = STILL_EVERY if is_still else FACES_EVERY, 0, found
        return found


def gather(path: Path, info: SourceInfo, outlook: Outlook, ctx: StageContext) -> Evidence:
    """Look at a few pictures a second of a range. Raises: MediaError, JobStopped."""
    size = net_size(info.video.display_width, info.video.display_height)
    length_s, tick = outlook.end_s - outlook.start_s, info.video.tick
    sampling = Sampling(path, info, outlook, size, ctx.ffmpeg, ctx.max_pixels, ctx.memory_bytes, ctx.threads)
    scratch = ctx.store.staging() / f"{ctx.job_id}-{outlook.n}-{os.urandom(6).hex()}.nut"
    taker = EvidenceTaker(outlook.cut_pts)
    try:
        sample_file(sampling, scratch, lambda done_s: ctx.report(READ_SHARE * min(done_s, length_s), length_s))
        with within_memory("looking for faces"):
            watch = _Watch()
            for sample in read_samples(outlook, tick, scratch):
                taker.add(sample.pts, shrink(sample.luma, SHRINK), watch.look(sample, outlook))
                seen_s = float((sample.pts - outlook.start_pts) * tick)
                ctx.report(READ_SHARE * length_s + (1 - READ_SHARE) * min(seen_s, length_s), length_s)
    finally:
        scratch.unlink(missing_ok=True)
    return taker.finish()

"""Ranges as highlights: any two edges scored, and those that a person asked for, all of them or single clips. Pure."""

from topclip.errors import InvalidRequest
from topclip.model.analysis import Analysis
from topclip.model.clip import Highlight, Plan
from topclip.model.request import ClipOptions, Edits
from topclip.model.source import SourceInfo
from topclip.pipeline.holes import is_moved
from topclip.pipeline.places import Edge, Timeline
from topclip.pipeline.scoring import Scores, score_parts, scores_of


def highlight(timeline: Timeline, scores: Scores, start: Edge, end: Edge) -> Highlight:
    """A range with its score and what made it; its number is not given yet (0)."""
    score, parts = score_parts(scores, start.time_s, end.time_s)
    start_pts, end_pts = (timeline.pts_of(edge) for edge in (start, end))
    first, behind = timeline.frames_of(start_pts, end_pts)
    first_pts = int(timeline.frame_pts[first])
    return Highlight(
        n=0,
        start_s=start.time_s,
        end_s=end.time_s,
        score=score,
        signals=parts,
        start_pts=start_pts,
        end_pts=end_pts,
        held_pts=None if first_pts == start_pts else first_pts,
        frames=behind - first,
        start_edge=start.kind,
        end_edge=end.kind,
    )


def asked(info: SourceInfo, timeline: Timeline, scores: Scores, span_s: tuple[float, float]) -> Highlight:
    """A range that was asked for, its edges moved to frames only.

    One that begins behind the source, or ends more than a frame behind it (a rounded duration may), is refused.
    Raises: InvalidRequest.
    """
    start_s, end_s = span_s
    source_end_s = max(timeline.end_s, info.duration_s)
    if start_s >= source_end_s or end_s > source_end_s + info.slack_s + 1e-6:
        where = "begins" if start_s >= source_end_s else "ends"
        raise InvalidRequest(
            f"range {start_s:g}-{end_s:g} {where} after the source's end: it lasts {source_end_s:g} s",
            {"field": "ranges", "hint": "ranges are in seconds from the source's start"},
        )
    first = min(timeline.frame_at(start_s), timeline.n_frames - 1)
    last = max(timeline.frame_at(end_s), first + 1)
    start, end = (timeline.edge_near(*wanted, "asked") for wanted in ((first, start_s), (last, end_s)))
    found = highlight(timeline, scores, start, end)
    is_elsewhere = is_moved(info, span_s, (found.start_s, found.end_s))
    return found.model_copy(update={"asked_s": span_s}) if is_elsewhere else found


def recut(plan: Plan, info: SourceInfo, analysis: Analysis, options: ClipOptions, edits: Edits) -> Plan:
    """A plan with some clips' ranges set anew, under their old numbers; all else of it stays. Raises: InvalidRequest."""
    timeline = Timeline(info, analysis)
    scores = scores_of(analysis, options.weights, timeline.end_s)
    found = {h.n: h for h in plan.highlights}
    for edit in edits.clips:
        if edit.n not in found:
            raise InvalidRequest(f"the plan has no clip {edit.n}", {"field": "n"})
        if edit.start_s is not None and edit.end_s is not None:
            clip = asked(info, timeline, scores, (edit.start_s, edit.end_s))
            found[edit.n] = clip.model_copy(update={"n": edit.n})
    return plan.model_copy(update={"options": options.to_dict(), "highlights": tuple(found.values())})

"""Changes of an ended job: other options (replan), another range or framing of one clip (recut). Nothing is analysed anew."""

from contextlib import suppress
from functools import partial

from flask import Response, request

from topclip.errors import ArtifactMissing, InvalidRequest
from topclip.model.base import JsonDict
from topclip.model.clip import Highlight
from topclip.model.framing import Keyframe, framing_fault
from topclip.model.geometry import cut_out
from topclip.model.request import OF_MODE, OF_RENDERING, Change, ClipOptions, ClipRequest, Edit, Edits
from topclip.model.source import SourceInfo
from web.intake import check_callback, read_text
from web.jobs import begun_again
from web.made import plan_key_of, plan_of, source_of
from web.openapi import JOBS, Api, answers
from web.schemas import ClipPath, JobPath, Recut, ReplanOptions, StatusDocument, read_json, read_object, read_values
from web.services import services
from web.status import read
from web.submit import refuse_low_disk

blueprint = Api("changes", __name__, abp_tags=[JOBS])


@blueprint.post(
    "/api/jobs/<job_id>/replan",
    body={"application/json": ReplanOptions},
    answers=answers({202: StatusDocument}, 400, 404, 409, 410, 422, 429, 503, 507),
)
def replan(path: JobPath) -> Response:
    """Plan an ended job again with the options that are named; nothing is decoded, and only clips that are new are made."""
    job_id = read(path.job_id).status.id  # an unknown job is told before a faulty body
    asked = read_object(read_text(request.stream), what="body")
    if not asked:
        raise InvalidRequest("no option is named", {"field": "body", "hint": 'such as {"count": 3}'})
    refuse_low_disk(0)
    return begun_again(services().client.alter(job_id, partial(_replanned, job_id, asked)))


def _replanned(job_id: str, asked: JsonDict, before: ClipRequest) -> Change:
    """The job's options with others in place of some. Raises: InvalidRequest, StorageError.

    Clips that a person has set stay where nothing changes that chooses. A callback is checked where it is another one.
    """
    options = read_values(ClipOptions, merged(before.options, asked))
    if options.ranges != before.options.ranges:
        with suppress(ArtifactMissing):  # it is looked at anew, and the task refuses what lies behind
            info = source_of(job_id)
            for n, (start_s, end_s) in enumerate(options.ranges):
                _refuse_behind_end(info, (start_s, end_s), (f"ranges.{n}.0", f"ranges.{n}.1"))
    if options.callback_url != before.options.callback_url:
        check_callback(options, services().settings, services().outbound)
    is_chosen_alike = options.model_dump(exclude=set(OF_RENDERING)) == before.options.model_dump(
        exclude=set(OF_RENDERING)
    )
    return Change(options=options, edits=before.edits if is_chosen_alike else None)


def merged(options: ClipOptions, asked: JsonDict) -> JsonDict:
    """Options after a merge patch (RFC 7396): null is the default again, weights that are not named stay.

    With another mode, the options that depend on it begin anew. Ranges alone mean mode `ranges`.
    """
    values = options.model_dump(mode="json")
    mode = asked.get("mode", "ranges" if asked.get("ranges") else values["mode"])
    if mode != values["mode"]:
        values = {name: value for name, value in values.items() if name not in OF_MODE}
    return _patched(values, {**asked, "mode": mode})


def _patched(values: JsonDict, asked: JsonDict) -> JsonDict:
    found = dict(values)
    for name, value in asked.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict) and isinstance(found.get(name), dict):
            found[name] = _patched(found[name], value)
        else:
            found[name] = value
    return found


@blueprint.patch(
    "/api/jobs/<job_id>/clips/<int:n>",
    body={"application/json": Recut},
    answers=answers({202: StatusDocument}, 400, 404, 409, 410, 422, 429, 503, 507),
)
def recut(path: ClipPath) -> Response:
    """Give one clip of an ended job another range, also a wider one, or another framing; the others keep files and numbers."""
    reading = read(path.job_id)
    job_id = reading.status.id
    asked = read_json(Recut, read_text(request.stream), what="body")
    clip = next((h for h in plan_of(reading).highlights if h.n == path.n), None)
    if clip is None:
        raise ArtifactMissing(f"the job has no clip {path.n}")
    info = source_of(job_id)
    refuse_low_disk(0)
    return begun_again(services().client.alter(job_id, partial(_recut, plan_key_of(reading) or "", clip, info, asked)))


def _recut(plan_key: str, clip: Highlight, info: SourceInfo, asked: Recut, before: ClipRequest) -> Change:
    """The job's edits with another one of a clip, or without; the first one names the plan that all of them are of.

    Raises: InvalidRequest.
    """
    base, clips = (before.edits.plan, before.edits.clips) if before.edits else (plan_key, ())
    edit = next((edit for edit in clips if edit.n == clip.n), Edit(n=clip.n))
    if asked.has_range or asked.is_back:
        edit = edit.model_copy(update=_range(clip, info, asked))
    if "framing" in asked.model_fields_set:
        edit = edit.model_copy(update={"keyframes": _keyframes(clip, edit, info, asked, before.options)})
    is_set = edit.start_s is not None or edit.keyframes
    found = [other for other in clips if other.n != clip.n] + ([edit] if is_set else [])
    edits = Edits(plan=base, clips=tuple(sorted(found, key=lambda one: one.n))) if found else None
    return Change(options=before.options, edits=edits)


def _range(clip: Highlight, info: SourceInfo, asked: Recut) -> dict[str, float | None]:
    """The clip's range as asked; of the two what is not named stays as it is. Raises: InvalidRequest."""
    if asked.is_back:
        return {"start_s": None, "end_s": None}
    start_s = clip.start_s if asked.start_s is None else asked.start_s
    end_s = clip.end_s if asked.end_s is None else asked.end_s
    _refuse_behind_end(info, (start_s, end_s), ("start_s", "end_s"))
    if end_s <= start_s:
        field = "start_s" if asked.end_s is None else "end_s"
        raise InvalidRequest(f"end_s {end_s:g} is not after start_s {start_s:g}", {"field": field})
    return {"start_s": start_s, "end_s": end_s}


def _refuse_behind_end(info: SourceInfo, span_s: tuple[float, float], fields: tuple[str, str]) -> None:
    """Raises: InvalidRequest naming the edge that lies behind the source's end; an end may be off by `slack_s`."""
    start_s, end_s = span_s
    found = {"hint": f"the source lasts {info.duration_s:g} s"}
    if start_s >= info.duration_s:
        raise InvalidRequest(f"{fields[0]} {start_s:g} lies behind the source's end", {"field": fields[0], **found})
    if end_s > info.duration_s + info.slack_s + 1e-6:
        raise InvalidRequest(f"{fields[1]} {end_s:g} lies behind the source's end", {"field": fields[1], **found})


def _keyframes(
    clip: Highlight, edit: Edit, info: SourceInfo, asked: Recut, options: ClipOptions
) -> tuple[Keyframe, ...]:
    """The framing as asked, which must be of the clip's time and of the picture. Raises: InvalidRequest naming the keyframe."""
    if asked.framing is None:
        return ()
    window = cut_out(info.video, options.aspect, options.fit)
    if window is None:
        why = f"with fit '{options.fit}' and aspect '{options.aspect}' clips of this source show all of its picture"
        raise InvalidRequest(why, {"field": "framing", "hint": "replan the job with fit crop and another aspect first"})
    start_s, end_s = (edit.start_s, edit.end_s) if edit.start_s is not None else (clip.start_s, clip.end_s)
    fault = framing_fault(asked.framing.keyframes, (start_s, end_s or clip.end_s), window)
    if fault is not None:
        n, name, message = fault
        raise InvalidRequest(message, {"field": f"framing.keyframes.{n}.{name}"})
    return asked.framing.keyframes

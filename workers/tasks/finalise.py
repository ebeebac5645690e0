"""Task of stage finalise: the manifest, and with it the job's end."""

from topclip.model.base import JsonDict
from topclip.model.clip import FailedClip, RenderedClip
from topclip.model.job import JobState, Stage
from topclip.pipeline.finalise import finalise as write_manifest
from workers import names, runtime
from workers.app import app
from workers.base import ClipTask


@app.task(base=ClipTask, bind=True, name=names.FINALISE, stage=Stage.FINALISE)
def finalise(self: ClipTask, parts: list[JsonDict], *, job_id: str, plan_key: str) -> JsonDict:
    """Write the manifest. Returns the job's result: its state, where plan and manifest lie, and how each clip ended."""
    results = [(RenderedClip if part["outcome"] == "ok" else FailedClip).from_dict(part) for part in parts]
    final = write_manifest(runtime.request_of(job_id), runtime.info_of(job_id), plan_key, results, self.context(job_id))
    state = JobState.PARTIAL if final.manifest.failed else JobState.SUCCEEDED
    return {"state": state, "manifest": final.manifest_key, "plan": plan_key, "clips": [_clip(r) for r in results]}


def _clip(result: RenderedClip | FailedClip) -> JsonDict:
    clip: JsonDict = {"n": result.n, "start_s": result.start_s, "end_s": result.end_s}
    if isinstance(result, FailedClip):
        clip["error"] = {"code": result.code, "message": result.message, "hint": result.hint}
    return clip

"""Task of stage probe: what is in the source, and who analyses which chunk of it."""

from typing import NoReturn

from topclip.errors import JobSuperseded
from topclip.model.job import Stage
from topclip.model.request import UrlSource
from topclip.pipeline.analyse import is_analysed
from topclip.pipeline.audience import take_audience
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.digest import digest_folder
from topclip.pipeline.fetch import fetch_source
from topclip.pipeline.probe import probe_source
from topclip.pipeline.transcribe import transcribe
from topclip.storage.base import record_key
from workers import canvas, figures, names, runtime
from workers.app import app
from workers.base import ClipTask


@app.task(base=ClipTask, bind=True, name=names.PROBE, stage=Stage.PROBE)
def probe(self: ClipTask, *, job_id: str) -> NoReturn:
    """Probe, then hand on to a task for each chunk, or to select if all were analysed before."""
    if not runtime.store().exists(record_key(job_id)):  # its submission was refused after all
        runtime.scripts()("withdraw", job_id, "1")
        raise JobSuperseded(f"job {job_id} was refused")
    request, ctx = runtime.request_of(job_id), self.context(job_id)
    if isinstance(request.source, UrlSource):
        limits = runtime.fetch_limits()
        fetch_source(request.source, ctx, runtime.outbound(), limits=limits, report=self.pulse.download)
    info = probe_source(request, ctx)
    runtime.keep_analysis(info.sha256)
    if folder := digest_folder(request):
        runtime.keep_analysis(folder)
    transcribe(request, info, ctx)
    take_audience(request, info, ctx)
    chunks = plan_chunks(info)
    # All of them or none, and never just those that are missing: a copy of this message would then publish a join of another
    # size under the same id, which is complete too early. A chunk that was analysed before takes a moment.
    is_known = all(is_analysed(info, chunk, runtime.store()) for chunk in chunks)
    wanted = () if is_known else chunks
    runtime.count(figures.CHUNKS, "cache" if is_known else "made", len(chunks))
    parts = canvas.analyse_parts(wanted)
    run = self.pulse.run
    progress = {
        "tasks": [names.task_id(run.job, run.epoch, part) for part in parts],
        "sizes_s": [chunk.duration_s for chunk in wanted],
    }
    self.hand_on(Stage.ANALYSE, progress, parts, canvas.analyse_then_select(app, run, wanted))

"""What is told of a source beside its own sound and picture, joined to its analysis: a transcript, an audience curve."""

from topclip.model.analysis import Analysis
from topclip.model.source import SourceInfo
from topclip.pipeline.audience import audience_ref, load_curve
from topclip.pipeline.context import StageContext
from topclip.pipeline.merge import with_told
from topclip.pipeline.transcript import load_transcript, transcript_ref


def with_all_told(info: SourceInfo, analysis: Analysis, keywords: tuple[str, ...], ctx: StageContext) -> Analysis:
    """The analysis with what the job's transcript and curve tell, if it has any. Raises: ArtifactMissing, StorageError."""
    key = transcript_ref(ctx).key
    words = load_transcript(ctx, key).words if key else ()
    return with_told(info, analysis, words, keywords, load_curve(ctx))


def is_told(ctx: StageContext) -> bool:
    """Whether all that the job's transcript and curve tell is in the store. Raises: StorageError."""
    curve = audience_ref(ctx)
    keys = (transcript_ref(ctx).key, None if curve is None else curve.key)
    return all(key is None or ctx.store.exists(key) for key in keys)

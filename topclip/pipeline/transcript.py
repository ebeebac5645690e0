"""The transcript of a job, as it was left when the source was probed."""

from topclip.errors import ArtifactMissing
from topclip.model.transcript import Transcript, TranscriptRef
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import must_be_kept
from topclip.storage.base import transcript_ref_key


def transcript_ref(ctx: StageContext) -> TranscriptRef:
    """Where the job's transcript lies; its key is None if the source has no text. Raises: StorageError."""
    try:
        return TranscriptRef.model_validate_json(ctx.store.get_bytes(transcript_ref_key(ctx.job_id)))
    except ArtifactMissing:
        return TranscriptRef(key=None)


def load_transcript(ctx: StageContext, key: str) -> Transcript:
    """A transcript. Raises: ArtifactMissing where it cannot be read any more, and is made anew by a retry; StorageError."""
    return must_be_kept(key, Transcript.model_validate_json, ctx.store)

"""A job as its client sees it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from topclip.model.base import JsonDict, Model
from topclip.model.request import ClipRequest

JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Stage(StrEnum):
    """The stages in flow order."""

    PROBE = "probe"
    ANALYSE = "analyse"
    SELECT = "select"
    REFRAME = "reframe"
    RENDER = "render"
    FINALISE = "finalise"


class JobState(StrEnum):
    """States of a job."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing happens to the job any more of its own accord."""
        return self not in (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)

    @property
    def can_retry(self) -> bool:
        """Whether something is missing that another attempt may make."""
        return self in (JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED)


class JobError(Model):
    """Why a job failed."""

    code: str
    stage: Stage | None
    message: str
    hint: str | None
    retryable: bool


class ClipStatus(Model):
    """How far one clip is."""

    n: int
    state: Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    start_s: float
    end_s: float
    progress: float = Field(ge=0, le=1)
    error: JsonDict | None = None


class Download(Model):
    """How much of a source on another server has come."""

    done_bytes: int
    total_bytes: int | None = Field(description="Null where the server does not say.")


class SubmissionKey(Model):
    """By what a submission that is sent again is known: hashes of owner and Idempotency-Key, and of source and options."""

    digest: str
    body: str


class JobRecord(Model):
    """What is written of a job before its first message is published, in Redis and in the store."""

    id: JobId
    request: ClipRequest
    owner: str = Field("", description="Who submitted it; empty where nobody needs a key.")
    key: SubmissionKey | None = Field(None, description="The Idempotency-Key that it came with.")
    created_at: datetime
    expires_at: datetime
    change: int = Field(0, description="Number of the newest change that the request holds; 0: as it was submitted.")


class JobStatus(Model):
    """The status document, without the reader's own `source`, `stale` and `as_of`.

    `revision` rises with every change of the job and is what ETags and events go by, together with `epoch`.
    """

    id: JobId
    state: JobState
    stage: Stage | None
    progress: float = Field(ge=0, le=1)
    clips: tuple[ClipStatus, ...]
    error: JobError | None
    name: str = Field(description="The source's name, for people.")
    options: JsonDict
    download: Download | None = Field(
        None, description="In stage probe: how much of a source that a URL names has come; else null."
    )
    queue_position: int | None = Field(None, description="Jobs ahead in the queue, 0 being next; null once it runs.")
    eta_s: float | None = Field(None, description="Seconds to the end at the pace so far; null where unknown.")
    attempts: int = Field(1, description="Times that the job was started, re-drives included.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    epoch: int
    revision: int
    owner: str = Field("", exclude=True)
    plan_key: str | None = Field(None, exclude=True)
    manifest_key: str | None = Field(None, exclude=True)


class JobEvent(Model):
    """A change of a job, deletion included, as it is published to whoever follows."""

    id: JobId
    epoch: int
    revision: int
    deleted: bool = False

"""The error tree. Two questions decide everything: whose fault is it, and would a retry help?

Every class answers both by its place in the tree and by `retryable`, and bears a stable `code` that the API, the
metrics and the logs use. Must not import anything of ours.

The constructor is fixed to `(message, detail=None)` and hands both on to `Exception`: Celery re-creates an exception from
its `args` when it reads it back from the result backend, and any other signature comes back as a different class.
`detail` is JSON: `field` names the option or file at fault, `hint` says what to do about it.
"""

from typing import Any, ClassVar, Final

Detail = dict[str, Any]


class TopClipError(Exception):
    """Root of all errors that TopClip raises on purpose."""

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, detail: Detail | None = None) -> None:
        super().__init__(message, detail)
        self.message = message
        self.detail: Detail = detail or {}

    def __str__(self) -> str:
        return self.message

    @property
    def hint(self) -> str | None:
        """What the reader can do about it, where we know."""
        hint = self.detail.get("hint")
        return hint if isinstance(hint, str) else None

    def to_dict(self) -> Detail:
        """The error as JSON: `code`, `message`, `hint`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class ConfigError(TopClipError):
    """The operator's fault: a setting is wrong and the process refuses to start."""

    code = "CONFIG"


# --- the client's fault ---------------------------------------------------------------------------------------


class RequestError(TopClipError):
    """The client asked for something that cannot be done as asked."""

    code = "BAD_REQUEST"


class InvalidRequest(RequestError):
    """An option or a body is wrong; `detail["field"]` names it, `detail["errors"]` lists all of them."""

    code = "INVALID_REQUEST"


class SourceNotFound(RequestError):
    """The named source does not exist or lies outside the media root."""

    code = "SOURCE_NOT_FOUND"


class SourceTooLarge(RequestError):
    """The source is larger, longer or has more pixels than this server takes."""

    code = "SOURCE_TOO_LARGE"


class UnsupportedMedia(RequestError):
    """The source is not media that FFmpeg can read, or has no picture."""

    code = "UNSUPPORTED_MEDIA"


class UrlRefused(RequestError):
    """A URL that is none, leads to an address that is not allowed, or answers with what is not taken."""

    code = "URL_REFUSED"


class BadSubtitles(InvalidRequest):
    """The subtitle file cannot be read, or belongs to another video; the message names file and line."""

    code = "BAD_SUBTITLES"


class BadAudience(InvalidRequest):
    """The file of the audience curve cannot be read, or belongs to another video; the message names file and line."""

    code = "BAD_AUDIENCE"


class NoTranscript(RequestError):
    """Captions were asked for, and there is no text: no subtitle file, no text track in the source, no transcriber."""

    code = "NO_TRANSCRIPT"


class NoTranscriber(RequestError):
    """The transcriber was asked for, and this server has none, or not its model."""

    code = "NO_TRANSCRIBER"


class UnknownJob(RequestError):
    """Redis itself says that it knows no such job."""

    code = "UNKNOWN_JOB"


class JobExpired(RequestError):
    """The job existed; its retention has passed or it was deleted."""

    code = "JOB_EXPIRED"


class JobConflict(RequestError):
    """The job's state does not allow what was asked, such as cancelling a finished job."""

    code = "JOB_CONFLICT"


class NotReady(RequestError):
    """The job exists but has not made the asked thing (a plan, a manifest, a clip) yet."""

    code = "NOT_READY"


# --- the source's fault ---------------------------------------------------------------------------------------


class MediaError(TopClipError):
    """The media itself is at fault. `detail` may hold `exit_code`, `stderr_tail`, `argv`, `start_s`, `end_s`."""

    code = "MEDIA"


class ProbeError(MediaError):
    """The container cannot be read."""

    code = "PROBE_FAILED"


class DecodeError(MediaError):
    """A stream cannot be decoded."""

    code = "DECODE_FAILED"


class NoHighlights(MediaError):
    """The source holds nothing that satisfies the options, such as being shorter than `min_length`."""

    code = "NO_HIGHLIGHTS"


class EncodeError(MediaError):
    """ffmpeg could not make the clip."""

    code = "ENCODE_FAILED"


class CheckFailed(MediaError):
    """A rendered clip did not pass its checks, also after one repair where there is one."""

    code = "CHECK_FAILED"


class MediaLimit(MediaError):
    """The source asks for more memory, time or room on disk than one task is given."""

    code = "MEDIA_LIMIT"


class Killed(MediaError):
    """The process of a task or its ffmpeg was killed (for memory, or by hand) more often than is tried."""

    code = "KILLED"


# --- the surroundings' fault ----------------------------------------------------------------------------------


class StorageError(TopClipError):
    """The artifact store failed."""

    code = "STORAGE"


class ArtifactMissing(StorageError):
    """An artifact that should be in the store is not."""

    code = "ARTIFACT_MISSING"


class ArtifactDamaged(StorageError):
    """An artifact is not what was put into the store: its checksum is another one."""

    code = "ARTIFACT_DAMAGED"


class StorageUnavailable(StorageError):
    """The store cannot be reached now."""

    code = "STORAGE_UNAVAILABLE"
    retryable = True


class NotRemoved(StorageError):
    """Something in the store cannot be removed: it is another user's, or the bucket holds it."""

    code = "NOT_REMOVED"


class StorageFull(StorageError):
    """No room is left in the store."""

    code = "STORAGE_FULL"


class QueueUnavailable(TopClipError):
    """Redis, broker or result backend, cannot be reached now. `detail["retry_after_s"]` says when to try again."""

    code = "QUEUE_UNAVAILABLE"
    retryable = True


class UrlUnreachable(TopClipError):
    """Nothing answers at a URL, or not to its end, or with an error of that server."""

    code = "URL_UNREACHABLE"
    retryable = True


class SourceChanged(TopClipError):
    """What a URL leads to is not what it was when reading it began."""

    code = "SOURCE_CHANGED"
    retryable = True


class ServerBusy(TopClipError):
    """A bound of this server is reached (long-lived connections, probes under way); try again soon."""

    code = "SERVER_BUSY"
    retryable = True


class QueueFull(ServerBusy):
    """As many jobs wait or run as this server takes; try again later."""

    code = "QUEUE_FULL"


class RateLimited(ServerBusy):
    """One key, or one address, asks more often than this server allows; try again after `Retry-After`."""

    code = "RATE_LIMITED"


class ServerUnreachable(TopClipError):
    """The command cannot reach the web server."""

    code = "SERVER_UNREACHABLE"
    retryable = True


# --- nobody's fault -------------------------------------------------------------------------------------------


class JobStopped(TopClipError):
    """Somebody or something ended the job; the running task must stop and publish nothing."""

    code = "STOPPED"


class JobCancelled(JobStopped):
    """The client cancelled the job."""

    code = "CANCELLED"


class JobSuperseded(JobStopped):
    """A newer attempt of the job runs: this run's epoch is old or its lease is lost."""

    code = "SUPERSEDED"


FAULTS: Final = (
    TopClipError, ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What one round of a thread that lives as long as its process may die of, mistakes of ours and of libraries included: it is
logged, and the next round is made all the same, since nobody would start the thread again."""


def all_errors(root: type[TopClipError] = TopClipError) -> list[type[TopClipError]]:
    """The root and all its descendants."""
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def from_dict(value: Detail) -> TopClipError:
    """The error that `to_dict` told of, as its own class."""
    kind = next((error for error in all_errors() if error.code == value["code"]), TopClipError)
    return kind(value["message"], {"hint": value["hint"]} if value.get("hint") else None)

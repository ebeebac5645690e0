"""The artifact store's interface and the names of its keys. Keys are relative, with `/` between their parts."""

import contextlib
import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from topclip.errors import ArtifactMissing, StorageError, StorageFull, StorageUnavailable

FULL = (errno.ENOSPC, errno.EDQUOT)
BROKEN_DISK = (errno.EIO, errno.ESTALE, errno.EROFS)
CLOSED_HINT = "let the user that we run as in (`chown -R`); `topclip doctor` says where"


Tick = Callable[[], None]
"""Called again and again while bytes move, several times a second; what it raises stops them, and nothing half-made stays."""


def no_tick() -> None:
    """Go on."""


class ArtifactStore(Protocol):
    """Put-if-absent storage of files by key. Nothing is ever seen half-written.

    Raises: ArtifactMissing, ArtifactDamaged (of a bucket), StorageFull, StorageUnavailable.
    """

    def check(self) -> None:
        """Refuse a place that cannot keep what this interface promises. Raises: ConfigError that says what to do."""

    def put_bytes(self, key: str, content: bytes) -> bool:
        """Create an object; False, and nothing changed, if the key is taken."""

    def put_file(self, key: str, path: Path, tick: Tick = no_tick) -> bool:
        """Create an object from a local file, which is consumed; False, and the file gone, if the key is taken."""

    def get_bytes(self, key: str) -> bytes:
        """The object's content."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def size(self, key: str) -> int:
        """The object's bytes."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes [start, end), in blocks."""

    def local_path(self, key: str, tick: Tick = no_tick) -> AbstractContextManager[Path]:
        """A local file with the object's content, to be read only, for as long as the context lasts."""

    def download_url(self, key: str, disposition: str, media_type: str) -> str | None:
        """Where a client may fetch the object by itself for some time, with those headers; None: only from us."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""

    def staged(self) -> list[str]:
        """Names of the files in staging."""

    def list(self, prefix: str) -> list[str]:
        """All keys below a folder, sorted."""

    def delete(self, prefix: str) -> None:
        """Remove an object, or all objects below a folder; no error if there are none. Raises: NotRemoved if any stays."""

    def refuse_kept(self, prefix: str) -> None:
        """Say before anything is removed what stands against it. Raises: NotRemoved if something below a folder cannot be."""

    def staging(self) -> Path:
        """A local folder in which files can be made before they are put; where it can be, on the store's own disk."""

    def unstage(self, name: str) -> None:
        """Remove a file in staging that nobody works on any more."""

    def sweep(self, older_than_s: float) -> int:
        """Remove what was not written for so long and never became an object: killed processes left it. How much there was."""

    def sizes(self) -> dict[str, int]:
        """Bytes of all objects, by the first two parts of their keys: `jobs/<id>`, `analysis/<sha256>`."""

    def free_bytes(self) -> int | None:
        """Room left where files are made and put, None where it cannot be told."""


def storage_error(what: str, err: OSError) -> StorageError:
    """An error of the file system as ours. what: the key, or what lay there."""
    if isinstance(err, FileNotFoundError):
        return ArtifactMissing(f"no artifact {what}", {"key": what})
    if err.errno in FULL:
        hint = "free some disk space, then try again"
        return StorageFull(f"no room left in the store for {what}", {"key": what, "hint": hint})
    way_out = CLOSED_HINT if isinstance(err, PermissionError) else None
    return StorageUnavailable(f"the store failed at {what}: {err.strerror or err}", {"key": what, "hint": way_out})


@contextlib.contextmanager
def translated(key: str) -> Iterator[None]:
    """Errors of the file system become ours."""
    try:
        yield
    except OSError as err:
        raise storage_error(key, err) from err


def no_room(field: str | None) -> StorageFull:
    """The error of a store that takes no new source. field: the option or part that brings it."""
    hint = "try again later; the operator can free disk space, or lower TOPCLIP_MIN_FREE_MB"
    return StorageFull("no room is left in the store", {"field": field, "hint": hint})


def over_budget(field: str | None) -> StorageFull:
    """The error of a store that has reached its budget. field: the option or part that brings the source."""
    hint = "delete jobs, or have the operator raise TOPCLIP_STORE_BUDGET_GB"
    text = "the store has reached its budget, and no finished job is left that could go"
    return StorageFull(text, {"field": field, "hint": hint})


def add_size(sizes: dict[str, int], key: str, n_bytes: int) -> None:
    """Count an object in `ArtifactStore.sizes`."""
    group = "/".join(key.split("/", 2)[:2])
    sizes[group] = sizes.get(group, 0) + n_bytes


def job_folder(job_id: str) -> str:
    """Folder of everything that belongs to one job and goes with it."""
    return f"jobs/{job_id}"


def record_key(job_id: str) -> str:
    """The job's record: enough to start it again if Redis lost its data."""
    return f"jobs/{job_id}/job.json"


def cancelled_key(job_id: str) -> str:
    """Says that the job was cancelled, for whoever finds its record when Redis has lost it."""
    return f"jobs/{job_id}/cancelled"


CHANGES = "changes"
"""Folder of all changes of jobs: one listing of it tells which job has which."""


def change_folder(job_id: str, n: int) -> str:
    """Folder of a job's n-th change, from 1; not in the job's own, so that one listing tells the changes of all jobs."""
    return f"{CHANGES}/{job_id}.{n}"


def change_key(job_id: str, n: int) -> str:
    """What a job's client asks for since its n-th change."""
    return f"{change_folder(job_id, n)}/change.json"


def upload_key(job_id: str, suffix: str) -> str:
    """An uploaded source; suffix is that of the client's file name if it is harmless, else empty."""
    return f"jobs/{job_id}/source{suffix}"


def subtitles_key(job_id: str, suffix: str) -> str:
    """A subtitle file that was uploaded."""
    return f"jobs/{job_id}/subtitles{suffix}"


def audience_key(job_id: str, suffix: str) -> str:
    """A file of an audience curve that was uploaded."""
    return f"jobs/{job_id}/audience{suffix}"


def audience_curve_key(sha256: str, digest: str) -> str:
    """An audience curve of one content, by the digest of the file it came from."""
    return f"analysis/{sha256}/audience-{digest}.json"


def audience_ref_key(job_id: str) -> str:
    """Which audience curve is the job's."""
    return f"jobs/{job_id}/curve.json"


def transcript_key(sha256: str, digest: str) -> str:
    """What is said in one content, by the digest of where the text came from."""
    return f"analysis/{sha256}/transcript-{digest}.json"


def transcript_ref_key(job_id: str) -> str:
    """Which transcript is the job's."""
    return f"jobs/{job_id}/transcript.json"


def info_key(job_id: str) -> str:
    """The job's SourceInfo."""
    return f"jobs/{job_id}/source.json"


def analysis_folder(sha256: str) -> str:
    """Folder of all analyses of one content; also of one remembered digest, see `digest_key`."""
    return f"analysis/{sha256}"


def digest_key(name: str) -> str:
    """The digest of a file's content, as hexadecimal digits. name: the hash of what tells that the file is unchanged.

    Its folder lies beside those of contents, so that what clears away analyses clears it away too: it stays as long as
    the latest job on the file, and one that the index has lost for the retention from when the reconciler finds it.
    """
    return f"{analysis_folder(name)}/sha256"


def chunk_key(sha256: str, version: str, index: int) -> str:
    """The analysis of one chunk, shared by all jobs on the same content."""
    return f"analysis/{sha256}/{version}/chunk-{index:04d}.npz"


def whole_key(sha256: str, version: str, digest: str) -> str:
    """The analysis of a whole source, merged from its chunks."""
    return f"analysis/{sha256}/{version}/whole-{digest}.npz"


def evidence_key(sha256: str, digest: str) -> str:
    """What was seen of the subject of one range, shared by all jobs on the same content."""
    return f"analysis/{sha256}/evidence-{digest}.npz"


def plan_key(job_id: str, digest: str) -> str:
    """The plan made by one set of options."""
    return f"jobs/{job_id}/plan-{digest}.json"


def drawing_key(plan: str) -> str:
    """The drawing of the plan that lies under a key."""
    return plan.removesuffix(".json") + ".svg"


def clips_folder(job_id: str) -> str:
    """Folder of all clips that a job ever made; the manifest tells which of them count."""
    return f"jobs/{job_id}/clips"


def clip_key(job_id: str, n: int, digest: str, suffix: str) -> str:
    """A clip (`.mp4`), its thumbnail (`.jpg`) or its RenderedClip (`.json`), named by the hash of its spec."""
    return f"{clips_folder(job_id)}/{n}-{digest}{suffix}"


def manifest_key(job_id: str, digest: str) -> str:
    """The manifest of one outcome."""
    return f"jobs/{job_id}/manifest-{digest}.json"

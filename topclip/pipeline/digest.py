"""The digest of a source's content. That of a file which is named by path is remembered in the store: to read hours of
video takes seconds, and jobs come to the same files again. What was sent or fetched is a job's own, and read once anyway.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import IO

from topclip.errors import ArtifactMissing
from topclip.model.request import ClipRequest, MediaPath
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.storage.base import ArtifactStore, digest_key

BLOCK_BYTES = 1 << 20
DIGEST = re.compile(rb"[0-9a-f]{64}")
SETTLED_NS = 2_000_000_000
"""A file that changed so shortly before can change again and look the same: file systems count in steps, FAT in 2 s."""


def source_digest(request: ClipRequest, path: Path, info: SourceInfo, ctx: StageContext) -> str:
    """SHA-256 of a source's content as hexadecimal digits, read from `path` unless it is remembered.

    A file that changes while it is read is told by no error here: its digest counts for this job alone, as ever.
    Raises: OSError, StorageError, JobStopped.
    """
    with path.open("rb") as file:
        if not isinstance(request.source, MediaPath):
            return _read(file, info, ctx)
        # Of the open file: a network share asks its server when one is opened, and may not when a name is looked at.
        found = os.fstat(file.fileno())
        if not _is_settled(found):
            return _read(file, info, ctx)
        name = _name(path, found)
        if known := _remembered(digest_key(name), ctx.store):
            return known
        digest = _read(file, info, ctx)
        if _name(path, os.fstat(file.fileno())) == name:
            ctx.store.put_bytes(digest_key(name), digest.encode())
        return digest


def digest_folder(request: ClipRequest) -> str | None:
    """Name of the folder below `analysis/` that is for the source's digest, if it is remembered.

    None: the source is not named by path, or is not there any more.
    """
    if isinstance(request.source, MediaPath):
        with contextlib.suppress(OSError):
            path = Path(request.source.path)
            return _name(path, path.stat())
    return None


def _name(path: Path, found: os.stat_result) -> str:
    """Hash of all that tells an unchanged file; of its ctime too, since programs set the mtime back and nobody that."""
    tells = [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
    return hashlib.sha256(json.dumps(tells).encode()).hexdigest()


def _is_settled(found: os.stat_result) -> bool:
    return max(found.st_mtime_ns, found.st_ctime_ns) < time.time_ns() - SETTLED_NS


def _remembered(key: str, store: ArtifactStore) -> str | None:
    """What was remembered, None if there is nothing; what is no digest is removed."""
    try:
        content = store.get_bytes(key)
    except ArtifactMissing:
        return None
    if DIGEST.fullmatch(content):
        return content.decode()
    store.delete(key)
    return None


def _read(file: IO[bytes], info: SourceInfo, ctx: StageContext) -> str:
    digest, done = hashlib.sha256(), 0
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        done += len(block)
        ctx.report(info.duration_s * done / max(1, info.size_bytes), info.duration_s)
    return digest.hexdigest()

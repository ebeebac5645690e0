"""Download what a job made: every file under its final name only when it is whole, the manifest last."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath

from cli.server import Server
from cli.targets import refuse_source
from topclip.errors import StorageError
from topclip.model.base import JsonDict

MANIFEST = "manifest.json"


def fetch(server: Server, job_id: str, out: Path, source: Path | None = None) -> JsonDict:
    """Download clips, thumbnails, plan and manifest into the folder; files that are there and right are kept.

    source: the file that was submitted, if it is here; it is not written to.
    Returns: the manifest, whose files are relative to the folder.
    Raises: InvalidRequest if the source lies where a file belongs; StorageError if a file does not arrive as the manifest
    says it is, or cannot be written.
    """
    manifest = server.manifest(job_id)
    base = f"/api/jobs/{job_id}"
    names = [manifest["plan"], *(name for clip in manifest["clips"] for name in _files(clip))]
    refuse_source(source, out / MANIFEST, *(_inside(out, name) for name in names if name))
    try:
        out.mkdir(parents=True, exist_ok=True)
        server.download(f"{base}/plan", _inside(out, manifest["plan"]))
        for clip in manifest["clips"]:
            _fetch_clip(server, f"{base}/clips/{clip['n']}", clip, out)
        _write(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    except OSError as err:
        raise StorageError(f"cannot write into {out}: {err.strerror or err}", {"field": "out"}) from err
    return manifest


def _fetch_clip(server: Server, path: str, clip: JsonDict, out: Path) -> None:
    target = _inside(out, clip["file"])
    if not (target.is_file() and _sha256(target) == clip["sha256"]):
        server.download(path, target)
        if _sha256(target) != clip["sha256"]:
            target.unlink()
            raise StorageError(f"clip {clip['n']} did not arrive whole", {"hint": "run the command again"})
    if clip.get("thumbnail"):
        server.download(f"{path}/thumbnail", _inside(out, clip["thumbnail"]))
    for kind in ("srt", "vtt") if clip.get("captions") else ():
        server.download(f"{path}/captions.{kind}", _inside(out, clip["captions"][kind]))


def _files(clip: JsonDict) -> list[str | None]:
    """All files of a clip, as the manifest names them."""
    captions = clip.get("captions") or {}
    return [clip["file"], clip.get("thumbnail"), captions.get("srt"), captions.get("vtt")]


def _inside(out: Path, name: str) -> Path:
    """The file's place. A server is not trusted to write elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise StorageError(f"the manifest names a file outside its folder: {name}")
    return out / path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(path)

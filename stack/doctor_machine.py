"""What can be wrong with this machine: folders, disk, memory, ffmpeg, open files."""

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import psutil

from stack.findings import Check
from topclip.config import LEAST_MEMORY_MB, Settings
from topclip.errors import ConfigError, StorageError
from topclip.media.binary import find_ffmpeg, require_libass
from topclip.media.limits import there_is_memory
from topclip.storage.factory import store_for
from web import open_files

LOW_DISK_BYTES = 5 << 30
ENCODERS = ("libx264", "aac")
HDR_FILTERS = ("zscale", "tonemap")
FFMPEG_TIMEOUT_S = 20
MIN_FFMPEG: Final = (5, 1)
"""It brought `-fps_mode`, which every rendering asks for."""
OURS: Final = ("", ".staging", "jobs", "analysis", "changes", "keys", "logs", "redis", "flower", "s3", "store")
"""Folders inside the data folder and the store that some process of ours writes to."""
HOLDERS: Final = ("jobs", "analysis", "changes", ".staging")
"""Those with a folder for each job or source."""
MOST_LOOKED_AT = 10_000


def check_machine(settings: Settings) -> Iterator[Check]:
    """All that can be told without Redis."""
    yield from _folders(settings)
    yield from _bucket(settings)
    yield _memory(settings)
    yield from _ffmpeg(settings)
    yield _captions(settings)
    yield _open_files(settings)


def _folders(settings: Settings) -> Iterator[Check]:
    folders = {"data folder": settings.data_dir}
    if "://" not in settings.store:
        folders["store"] = settings.store_dir
    for name, folder in folders.items():
        yield _writable(name, folder)
        yield _disk(name, folder, settings.min_free_mb << 20)
    if settings.media_root and not os.access(settings.media_root, os.R_OK | os.X_OK):
        advice = "mend TOPCLIP_MEDIA_ROOT, or let this user read the folder"
        yield Check("media root", "fail", f"{settings.media_root} cannot be read", advice)


def _bucket(settings: Settings) -> Iterator[Check]:
    if "://" not in settings.store:
        return
    try:
        store = store_for(settings, for_requests=True)
        store.exists("probes/put")
        store.check()
    except (StorageError, ConfigError) as err:
        yield Check("store", "fail", err.message, err.hint)
    else:
        yield Check("store", "ok", f"{settings.store} answers, and heeds conditional writes")


def _writable(name: str, folder: Path) -> Check:
    """A file is made for a moment: mode bits do not tell of read-only mounts, nor of the rights that a share grants."""
    try:
        top = _existing(folder)
        places = [top] if top != folder.absolute() else [p for sub in OURS if (p := top / sub).is_dir()]
    except PermissionError as err:
        return Check(name, "fail", f"{err.filename}: {err.strerror}", _let_in(Path(err.filename)))
    except OSError as err:
        return Check(
            name, "fail", f"{err.filename}: {err.strerror}", "is the share mounted, and does its server answer?"
        )
    for place in places:
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except NotADirectoryError as err:
            return Check(
                name, "fail", f"{place}: {err.strerror}", "set another folder, or move away what is in its place"
            )
        except OSError as err:
            return Check(name, "fail", f"{place}: {err.strerror}", _way_out(err, place))
    return _removable(name, folder, places)


def _removable(name: str, folder: Path, places: list[Path]) -> Check:
    """What lies in our folders and may not be removed holds its jobs in the store, and is not brought back from there."""
    for place in (place for place in places if place.name in HOLDERS):
        with os.scandir(place) as entries:
            looked_at = [one.path for one in islice(entries, MOST_LOOKED_AT) if one.is_dir(follow_symlinks=False)]
        closed = sorted(path for path in looked_at if not os.access(path, os.R_OK | os.W_OK | os.X_OK))
        if closed:
            more = f", and {len(closed) - 1} more beside it" if len(closed) > 1 else ""
            return Check(name, "fail", f"{closed[0]}: may not be read and removed{more}", _let_in(place))
    return Check(name, "ok", f"{folder.absolute()} can be written")


def _way_out(err: OSError, place: Path) -> str:
    if err.errno == errno.EROFS:
        return (
            "mount it for writing (`mount -o remount,rw`; a disk with faults is set read-only), or set another folder"
        )
    if err.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "make room there: bytes (`df`), or inodes, which may run out first (`df -i`)"
    return _let_in(place)


def _let_in(place: Path) -> str:
    """What to do where we may not write."""
    whose = f"let user {_user()} write there (`chown -R {_user()} {place}`)"
    return f"{whose} and enter all folders above it (`chmod a+x`), run as its owner, or set another folder"


def _user() -> str:
    try:
        return psutil.Process().username()
    except KeyError:  # a container may run as a number without a name
        return str(os.geteuid())


def _disk(name: str, folder: Path, least_bytes: int) -> Check:
    try:
        free_bytes = shutil.disk_usage(_existing(folder)).free
    except OSError as err:
        return Check("disk", "warn", f"room for the {name} cannot be told: {err.strerror}", "see above")
    text = f"{free_bytes / 1024**3:.1f} GiB free for the {name}"
    advice = (
        "free some room, delete jobs (`topclip delete`), shorten TOPCLIP_RETENTION_DAYS, or set TOPCLIP_STORE_BUDGET_GB"
    )
    if free_bytes < least_bytes:
        return Check("disk", "fail", f"{text}: submissions are refused below {least_bytes >> 20} MiB", advice)
    return Check("disk", "warn", text, advice) if free_bytes < LOW_DISK_BYTES else Check("disk", "ok", text)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    folder = folder.absolute()
    return next(p for p in (folder, *folder.parents) if p.exists())


def _memory(settings: Settings) -> Check:
    n_tasks = settings.concurrency or os.cpu_count() or 1
    free_mb = min(psutil.virtual_memory().available, there_is_memory()) >> 20  # a container may have less
    text = f"{free_mb} MiB available for {n_tasks} tasks at once"
    if free_mb < n_tasks * LEAST_MEMORY_MB:
        advice = f"lower TOPCLIP_CONCURRENCY, or add memory: a task needs {LEAST_MEMORY_MB} MiB at least"
        return Check("machine memory", "warn", text, advice)
    return Check("machine memory", "ok", text)


def _ffmpeg(settings: Settings) -> Iterator[Check]:
    advice = "unset TOPCLIP_FFMPEG to use the one of the imageio-ffmpeg wheel, or name another"
    try:
        path = find_ffmpeg(settings.ffmpeg)
        version, encoders, filters = (_output(path, about) for about in ("-version", "-encoders", "-filters"))
    except (OSError, subprocess.SubprocessError, ConfigError) as err:
        yield Check("ffmpeg", "fail", f"ffmpeg cannot be run: {err}", advice)
        return
    shown = f"{next(iter(version.splitlines()), 'ffmpeg').split(' Copyright')[0]} at {path}"
    if is_old(version):
        least = ".".join(map(str, MIN_FFMPEG))
        yield Check("ffmpeg", "fail", f"{shown} is too old: {least} or newer is needed", advice)
    else:
        yield Check("ffmpeg", "ok", shown)
    if missing := [e for e in ENCODERS if f" {e} " not in encoders]:
        yield Check("encoders", "fail", f"ffmpeg has no {', '.join(missing)}", advice)
    else:
        yield Check("encoders", "ok", f"ffmpeg has {', '.join(ENCODERS)}")
    if missing := [f for f in HDR_FILTERS if f" {f} " not in filters]:
        yield Check("hdr", "warn", f"ffmpeg has no {', '.join(missing)}: clips of HDR sources will fail", advice)
    else:
        yield Check("hdr", "ok", f"ffmpeg has {', '.join(HDR_FILTERS)}")


def is_old(version: str) -> bool:
    """Whether what `ffmpeg -version` says is older than we need. One built from git (`N-109...`) has no number, and is not."""
    found = re.match(r"ffmpeg version n?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < MIN_FFMPEG


def _captions(settings: Settings) -> Check:
    """Whether captions can be drawn."""
    try:
        require_libass(find_ffmpeg(settings.ffmpeg))
    except ConfigError as err:
        return Check("captions", "warn", err.message, err.hint)
    return Check("captions", "ok", "ffmpeg has libass, which draws captions")


def _open_files(settings: Settings) -> Check:
    wanted, most = open_files.needed(settings), open_files.most()
    if most is None or most >= wanted:
        return Check("open files", "ok", f"{wanted} may be needed, {most or 'any number'} are allowed")
    advice = "raise the hard limit (`ulimit -Hn`, LimitNOFILE= of systemd), or lower TOPCLIP_MAX_STREAMS"
    return Check("open files", "warn", f"{wanted} may be needed by the web process, {most} are allowed", advice)


def _output(path: str, argument: str) -> str:
    return subprocess.run(
        [path, "-hide_banner", argument], capture_output=True, text=True, timeout=FFMPEG_TIMEOUT_S, check=True
    ).stdout

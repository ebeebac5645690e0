"""What can be wrong with an installation, each check with what to do about it. Changes nothing but a probe file."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from redis.exceptions import RedisError

from stack.redis_server import RedisServer, binary
from topclip.config import Settings
from topclip.errors import ConfigError, StorageError
from topclip.media.binary import find_ffmpeg, require_libass
from topclip.storage.factory import store_for
from web import open_files
from workers.health import report
from workers.links import KEEPER, redis_client

Grade = Literal["ok", "warn", "fail"]

MIN_REDIS = (6, 0)  # Celery's result backend and our scripts use commands of 6.0
LOW_DISK_BYTES = 5 * 1024**3
FULL_DISK_BYTES = 512 * 1024**2
HIGH_MEMORY = 0.8
ENCODERS = ("libx264", "aac")
HDR_FILTERS = ("zscale", "tonemap")
FFMPEG_TIMEOUT_S = 20


@dataclass(frozen=True)
class Check:
    """One finding. `advice` says what to do where the grade is not ok."""

    name: str
    grade: Grade
    message: str
    advice: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """As `topclip doctor --json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and whether Redis could be reached."""

    checks: tuple[Check, ...]
    has_redis: bool

    @property
    def is_well(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(check.grade != "fail" for check in self.checks)


def examine(environ: Mapping[str, str] | None = None, **over: Any) -> Diagnosis:
    """Run every check. over: settings that the command line gives."""
    try:
        settings = Settings.from_env(environ, **over)
    except ConfigError as err:
        faults = err.detail.get("faults", [err.message])
        checks = tuple(Check("settings", "fail", str(f), "see docs/configuration.md") for f in faults)
        return Diagnosis(checks, has_redis=True)
    settings = _running(settings)
    local = [
        Check("settings", "ok", "all settings are valid"),
        *_folders(settings),
        *_bucket(settings),
        *_ffmpeg(settings),
        _captions(settings),
    ]
    local.append(_open_files(settings))
    try:
        health = report(redis_client(settings, KEEPER), settings.key_prefix)
    except RedisError as err:
        return Diagnosis((*local, _no_redis(settings, err)), has_redis=False)
    return Diagnosis((*local, *_redis(settings, health["redis"]), _workers(health)), has_redis=True)


def _running(settings: Settings) -> Settings:
    """Without a REDIS_URL, the embedded server of a `topclip up` on this data folder is meant, if one ran."""
    if "redis_url" in settings.model_fields_set:
        return settings
    if server := RedisServer.known(settings.data_dir):
        return settings.model_copy(update={"redis_url": server.url})
    return settings


def _folders(settings: Settings) -> Iterator[Check]:
    folders = {"data folder": settings.data_dir}
    if settings.store and "://" not in settings.store:
        folders["store"] = Path(settings.store)
    for name, folder in folders.items():
        yield _writable(name, folder)
        yield _disk(name, folder)
    if settings.media_root and not os.access(settings.media_root, os.R_OK | os.X_OK):
        yield Check("media root", "fail", f"{settings.media_root} cannot be read", "mend TOPCLIP_MEDIA_ROOT")


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
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as err:
        return Check(name, "fail", f"{place}: {err.strerror}", f"let this user write to {place}, or set another folder")
    return Check(name, "ok", f"{folder.absolute()} can be written")


def _disk(name: str, folder: Path) -> Check:
    free_bytes = shutil.disk_usage(_existing(folder)).free
    text = f"{free_bytes / 1024**3:.1f} GiB free for the {name}"
    advice = "free some room, or shorten TOPCLIP_RETENTION_DAYS"
    if free_bytes < FULL_DISK_BYTES:
        return Check("disk", "fail", text, advice)
    return Check("disk", "warn", text, advice) if free_bytes < LOW_DISK_BYTES else Check("disk", "ok", text)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    folder = folder.absolute()
    return next(p for p in (folder, *folder.parents) if p.exists())


def _ffmpeg(settings: Settings) -> Iterator[Check]:
    advice = "unset TOPCLIP_FFMPEG to use the one of the imageio-ffmpeg wheel, or name another"
    try:
        path = find_ffmpeg(settings.ffmpeg)
        version, encoders, filters = (_output(path, about) for about in ("-version", "-encoders", "-filters"))
    except (OSError, subprocess.SubprocessError, ConfigError) as err:
        yield Check("ffmpeg", "fail", f"ffmpeg cannot be run: {err}", advice)
        return
    yield Check("ffmpeg", "ok", f"{version.splitlines()[0].split(' Copyright')[0]} at {path}")
    if missing := [e for e in ENCODERS if f" {e} " not in encoders]:
        yield Check("encoders", "fail", f"ffmpeg has no {', '.join(missing)}", advice)
    else:
        yield Check("encoders", "ok", f"ffmpeg has {', '.join(ENCODERS)}")
    if missing := [f for f in HDR_FILTERS if f" {f} " not in filters]:
        yield Check("hdr", "warn", f"ffmpeg has no {', '.join(missing)}: clips of HDR sources will fail", advice)
    else:
        yield Check("hdr", "ok", f"ffmpeg has {', '.join(HDR_FILTERS)}")


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


def _no_redis(settings: Settings, err: RedisError) -> Check:
    advice = "start `topclip up`, which brings its own Redis, or set REDIS_URL; see docs/redis.md"
    try:
        binary()
    except ConfigError:
        advice = "install Redis and set REDIS_URL; see docs/redis.md"
    return Check("redis", "fail", f"{settings.masked_redis_url} is out of reach: {err}", advice)


def _redis(settings: Settings, redis: Mapping[str, Any]) -> Iterator[Check]:
    version = str(redis["version"])
    where = f"Redis {version} at {settings.masked_redis_url}"
    if tuple(int(p) for p in version.split(".")[:2]) < MIN_REDIS:
        yield Check("redis", "fail", f"{where} is too old", "use Redis 6.2 or newer; docs/redis.md says how on Windows")
    elif not redis["writes"]:
        yield Check("redis", "fail", f"{where}: {redis['warnings'][0]}", "see docs/redis.md, Troubleshooting")
    else:
        yield Check("redis", "ok", f"{where} answers in {float(redis['latency_ms']):.1f} ms")
    yield _persistence(redis)
    yield _eviction(redis)
    yield _memory(redis)


def _persistence(redis: Mapping[str, Any]) -> Check:
    if not redis["aof"]["last_write_ok"]:
        return Check("persistence", "fail", "Redis cannot write its append-only file", "make room on its disk")
    if redis["aof"]["enabled"]:
        return Check("persistence", "ok", "the append-only file is on")
    advice = "`redis-cli CONFIG SET appendonly yes`, and the same in redis.conf"
    return Check("persistence", "warn", "the append-only file is off: a crash of Redis loses jobs", advice)


def _eviction(redis: Mapping[str, Any]) -> Check:
    policy = str(redis["maxmemory_policy"])
    if policy == "noeviction" or not redis["maxmemory"]:
        return Check("eviction", "ok", f"Redis evicts nothing ({policy})")
    advice = "`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf"
    return Check("eviction", "fail", f"with {policy} a full Redis throws jobs away", advice)


def _memory(redis: Mapping[str, Any]) -> Check:
    used, limit = int(redis["used_memory"]), int(redis["maxmemory"] or 0)
    text = f"{used / 1024**2:.1f} MiB used" + (f" of {limit / 1024**2:.0f} MiB" if limit else ", no limit set")
    if limit and used > HIGH_MEMORY * limit:
        return Check("memory", "warn", text, "raise maxmemory, or shorten TOPCLIP_RETENTION_DAYS")
    return Check("memory", "ok", text)


def _workers(health: Mapping[str, Any]) -> Check:
    names = [str(worker["name"]) for worker in health["workers"]]
    if not names:
        return Check("workers", "fail", "no worker was seen: jobs wait", "start `topclip up`, or a worker anywhere")
    return Check("workers", "ok", f"{len(names)} seen: {', '.join(names)}")

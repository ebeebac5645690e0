"""The commands that talk to a TopClip server over HTTP. No media code, no Celery."""

import json
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import click
import httpx

from cli.fetch import MANIFEST, fetch
from cli.options import attached_options, clip_options
from cli.server import Server
from cli.targets import refuse_source
from cli.watch import follow, upload_bar, view_for
from topclip.config import Settings
from topclip.errors import InvalidRequest, QueueUnavailable, ServerUnreachable, SourceNotFound
from topclip.model.base import JsonDict
from topclip.model.job import JobState
from topclip.model.request import ClipOptions

EXIT_OF_STATE = {"SUCCEEDED": 0, "PARTIAL": 3, "FAILED": 1, "CANCELLED": 1, "EXPIRED": 1}
"""Of a job that goes on the exit code is 0: nothing is wrong with it yet."""
WITH_CLIPS = ("SUCCEEDED", "PARTIAL")
SUBMIT_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Between the tries of a submission that broke off: a server that restarts is back by then."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
OUT = click.Path(file_okay=False, path_type=Path)

P = ParamSpec("P")
R = TypeVar("R")

json_flag = click.option("--json", "as_json", is_flag=True, help="Print the API's documents.")


def with_server(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--url` and `--api-key`; the command gets `server: Server`."""

    @click.option("--url", metavar="WEB", help="The web server; by default the one of the settings' host and port.")
    @click.option(
        "--api-key", help="Key for a server that asks for one; better TOPCLIP_API_KEY, which `ps` does not show."
    )
    @wraps(command)
    def connected(*args: Any, url: str | None, api_key: str | None, **kwargs: Any) -> R:
        if url is None or api_key is None:
            settings = Settings.from_env()
            api_key = api_key or settings.api_key or _own_key(settings, url)
            host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
            url = url or f"http://{host}:{settings.port}"
        with Server(url, api_key) as server:
            return command(*args, server=server, **kwargs)

    return connected


def _own_key(settings: Settings, url: str | None) -> str | None:
    """The first key of the server that runs with the same settings; it is shown to no other machine."""
    is_here = url is None or urlsplit(url).hostname in (*LOOPBACK, settings.host)
    return next(iter(settings.api_keys), None) if is_here else None


@click.command()
@click.argument("source")
@with_server
@clip_options
@attached_options(click.STRING, " It lies where SOURCE does.")
@click.option("--callback-url", metavar="URL", help="Have the server tell this URL, signed, how the job ended.")
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@click.option("--out", type=OUT, help="Follow the job, then download its clips and manifest into this folder.")
@click.option("--idempotency-key", metavar="KEY", help="Submit once however often it is called; by default a new key.")
@json_flag
def submit(  # noqa: PLR0913 - one for each flag
    source: str,
    server: Server,
    options: ClipOptions,
    *,
    attached: dict[str, str],
    callback_url: str | None,
    watch: bool,
    out: Path | None,
    idempotency_key: str | None,
    as_json: bool,
) -> int:
    """Submit SOURCE and print the job's id.

    SOURCE is a file here, which is uploaded; else a URL, or a path that the server finds in its media folder. A submission
    that breaks off is sent again with the same key, so that it becomes one job.
    """
    if callback_url:
        options = options.model_copy(update={"callback_url": callback_url})
    if out:
        refuse_source(Path(source), out / MANIFEST)
    key = idempotency_key or str(uuid4())
    job_id = str(_patiently(lambda: _send(server, (source, attached), options, key, is_quiet=as_json))["id"])
    if not (watch or out):
        click.echo(json.dumps(server.status(job_id)) if as_json else job_id)
        return 0
    return to_the_end(server, job_id, out, as_json=as_json, source=Path(source))


def to_the_end(server: Server, job_id: str, out: Path | None, *, as_json: bool, source: Path | None = None) -> int:
    """Follow a job and download what it made; its exit code."""
    click.echo(f"job {job_id}", err=True)
    status = _follow(server, job_id, as_json=as_json)
    if out and status["state"] in WITH_CLIPS:
        _fetch(server, job_id, out, source)
    return _exit_code(status)


def _patiently(send: Callable[[], JsonDict]) -> JsonDict:
    """Send, and again where that broke off or Redis is away. A server that was never there is not waited for.

    Raises: the last error.
    """
    for n, pause_s in enumerate(SUBMIT_PAUSES_S):
        try:
            return send()
        except (ServerUnreachable, QueueUnavailable) as err:
            if n == 0 and isinstance(err.__cause__, httpx.ConnectError | httpx.InvalidURL):
                raise
            click.echo(f"{err.message}; trying again", err=True)
        time.sleep(pause_s)
    return send()


@click.command()
@click.argument("job_id")
@with_server
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@json_flag
def status(job_id: str, server: Server, watch: bool, as_json: bool) -> int:
    """Show how far the job JOB_ID is.

    The exit code is the job's: 1 if it failed or was cancelled, 3 if some of its clips could not be made, else 0.
    """
    if watch:
        return _exit_code(_follow(server, job_id, as_json=as_json))
    document = server.status(job_id)
    click.echo(json.dumps(document) if as_json else _describe(document))
    return _exit_code(document)


@click.command()
@click.argument("job_id")
@with_server
@click.option("--out", type=OUT, help="Download the clips and the manifest into this folder.")
@json_flag
def clips(job_id: str, server: Server, out: Path | None, as_json: bool) -> int:
    """List the clips of the job JOB_ID, or download them.

    The exit code is 3 if some of them could not be made, 1 if there are none.
    """
    manifest = _fetch(server, job_id, out) if out else server.manifest(job_id)
    code = EXIT_OF_STATE["PARTIAL"] if manifest.get("failed") else 0
    if as_json:
        click.echo(json.dumps(manifest))
        return code
    for clip in manifest["clips"]:
        span = f"{clip['start_s']:9.2f} {clip['end_s']:9.2f}"
        click.echo(f"{clip['n']:>3} {span}  {clip['width']}x{clip['height']}  {clip['file']}")
    return code


@click.command()
@click.argument("job_id")
@with_server
@json_flag
def cancel(job_id: str, server: Server, as_json: bool) -> None:
    """Cancel the job JOB_ID."""
    document = server.cancel(job_id)
    click.echo(json.dumps(document) if as_json else str(document.get("state", "")).lower())


@click.command()
@click.argument("job_id")
@with_server
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@click.option("--out", type=OUT, help="Follow the job, then download its clips and manifest into this folder.")
@json_flag
def retry(job_id: str, server: Server, *, watch: bool, out: Path | None, as_json: bool) -> int:
    """Start the job JOB_ID again, which failed, was cancelled or lacks clips.

    Only what is missing is made; the job's id stays, and the day until which it is kept.
    """
    document = server.retry(job_id)
    if watch or out:
        return to_the_end(server, job_id, out, as_json=as_json)
    click.echo(json.dumps(document) if as_json else str(document.get("state", "")).lower())
    return 0


@click.command()
@with_server
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="Jobs to list.")
@click.option("--state", type=click.Choice([s.value for s in JobState], case_sensitive=False), help="Only these.")
@json_flag
def jobs(server: Server, limit: int, state: str | None, as_json: bool) -> None:
    """List the jobs, newest first."""
    page = server.jobs(limit=limit, state=state)
    if as_json:
        click.echo(json.dumps(page))
        return
    for job in page["jobs"]:
        click.echo(
            f"{job['id']}  {job['state']:<10} {job['progress']:>4.0%}  {job['created_at']}  {job.get('name', '')}"
        )


@click.command()
@click.argument("job_id")
@with_server
def delete(job_id: str, server: Server) -> None:
    """Delete the finished job JOB_ID, its clips and its source."""
    server.delete(job_id)
    click.echo("deleted", err=True)


def _send(
    server: Server, files: tuple[str, dict[str, str]], options: ClipOptions, key: str, *, is_quiet: bool
) -> JsonDict:
    """Upload a file that is here; anything else is the server's to find. files: the source, and what comes with it."""
    source, attached = files
    wanted = options.model_dump(mode="json", exclude_unset=True)
    path = Path(source)
    if path.is_file():
        beside = {name: Path(file) for name, file in attached.items()}
        for name, file in beside.items():
            if not file.is_file():
                raise click.BadParameter(f"no file {file} here", param_hint=f"--{name}")
        with path.open("rb") as stream, upload_bar(path.stat().st_size, is_quiet=is_quiet) as progress:
            body = progress.wrap_file(stream, task_id=progress.task_ids[0])
            return server.submit_file(path.name, body, wanted, key, beside)
    if path.is_dir():
        raise click.UsageError(f"{source} is a folder; name a video")
    try:
        return server.submit_source(source, wanted, key, attached)
    except (InvalidRequest, SourceNotFound) as err:
        if err.detail.get("field") != "source" or "://" in source:
            raise
        raise InvalidRequest(f"no file {source} here, and the server says: {err.message}", err.detail) from err


def _exit_code(status: JsonDict) -> int:
    return EXIT_OF_STATE.get(status["state"], 0)


def _follow(server: Server, job_id: str, *, as_json: bool) -> JsonDict:
    try:
        with view_for(as_json=as_json) as view:
            document = follow(server, job_id, view)
    except KeyboardInterrupt:
        click.echo(f"the job goes on; see `topclip status {job_id} --url {server.url}`", err=True)
        raise
    if error := document.get("error"):
        click.echo(f"{error['code']}: {error['message']}", err=True)
        if error.get("hint"):
            click.echo(f"  {error['hint']}", err=True)
    return document


def _fetch(server: Server, job_id: str, out: Path, source: Path | None = None) -> JsonDict:
    manifest = fetch(server, job_id, out, source)
    click.echo(f"{len(manifest['clips'])} clips in {out.absolute()}", err=True)
    return manifest


def _describe(status: JsonDict) -> str:
    """The status for a person."""
    lines = [
        f"{status['state'].lower()}, {status['progress']:.0%}" + (f", {status['stage']}" if status["stage"] else ""),
        f"created {status['created_at']}, expires {status['expires_at']}",
    ]
    lines += [f"clip {c['n']}: {c['state'].lower()}, {c['start_s']:.2f} to {c['end_s']:.2f} s" for c in status["clips"]]
    if error := status.get("error"):
        lines.append(f"{error['code']}: {error['message']}")
    if status.get("stale"):
        lines.append(f"Redis is out of reach: this is what was known at {status['as_of']}")
    return "\n".join(lines)

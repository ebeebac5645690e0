"""Following a job from the command line: a bar for the job, one for each clip, or a line for each change."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cli.server import Server
from topclip.errors import QueueUnavailable, ServerBusy, ServerUnreachable
from topclip.model.base import JsonDict
from topclip.model.job import JobState

PATIENCE_S = 60.0  # a server that restarts is back by then
PAUSE_S = 1.0


class View(Protocol):
    """What shows the job's changes."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def show(self, status: JsonDict) -> None:
        """Show a status document."""
        ...

    def note(self, text: str) -> None:
        """Say something by the way."""
        ...


def follow(server: Server, job_id: str, view: View) -> JsonDict:
    """Show every change until the job ends; its last status. A server or a Redis that is away for a while is waited
    for.

    Raises: ServerUnreachable or QueueUnavailable if it stays away.
    """
    status: JsonDict = {}
    for status in changes(server, job_id, view):
        view.show(status)
    return status


def changes(server: Server, job_id: str, view: View) -> Iterator[JsonDict]:
    """The status documents up to the terminal one, each different from the last."""
    etag: str | None = None
    given_up_at = time.monotonic() + PATIENCE_S
    while True:
        asked_at = time.monotonic()
        try:
            status, etag = server.next_status(job_id, etag)
        except (ServerUnreachable, QueueUnavailable, ServerBusy) as err:
            if time.monotonic() > given_up_at:
                raise
            view.note(f"{err.message}; trying again")
            time.sleep(PAUSE_S)
            continue
        given_up_at = time.monotonic() + PATIENCE_S
        if status is None:
            if time.monotonic() - asked_at < PAUSE_S:  # a server that holds no answers while Redis is away
                time.sleep(PAUSE_S)
            continue
        yield status
        if JobState(status["state"]).is_terminal:
            return
        if etag is None:
            time.sleep(PAUSE_S)


def view_for(*, as_json: bool) -> View:
    """JSON lines, bars on a terminal, else a line for each stage."""
    if as_json:
        return JsonLines()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else StageLines()


class JsonLines:
    """One status document a line, on standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: JsonDict) -> None:
        """Print the document."""
        click.echo(json.dumps(status))

    def note(self, text: str) -> None:
        """To standard error."""
        click.echo(text, err=True)


class StageLines:
    """A line for each new stage or state and each tenth of progress, for logs."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: JsonDict) -> None:
        """Print where the job is, if that is news."""
        news = (status["state"], status["stage"], int(status["progress"] * 10))
        if news != self._last:
            self._last = news
            click.echo(f"{_where(status):<22}{status['progress']:>5.0%}", err=True)

    def note(self, text: str) -> None:
        """To standard error."""
        click.echo(text, err=True)


class Bars:
    """Progress bars: the job first, then a bar for each clip once the plan stands."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=40),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._job: TaskID | None = None
        self._clips: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: JsonDict) -> None:
        """Move the bars."""
        if self._job is None:
            self._job = self._progress.add_task("job", total=1.0)
        self._progress.update(self._job, completed=status["progress"], description=_where(status))
        for clip in status["clips"]:
            if clip["n"] not in self._clips:
                self._clips[clip["n"]] = self._progress.add_task("clip", total=1.0)
            done = 1.0 if clip["state"] == "SUCCEEDED" else clip.get("progress", 0.0)
            text = f"  clip {clip['n']}  {_clock(clip['start_s'])}-{_clock(clip['end_s'])}"
            self._progress.update(self._clips[clip["n"]], completed=done, description=text)

    def note(self, text: str) -> None:
        """Above the bars."""
        self._progress.console.print(text)


@contextmanager
def upload_bar(size_bytes: int, *, is_quiet: bool) -> Iterator[Progress]:
    """A bar for an upload, on standard error, gone when it is done; none where nobody watches."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=40),
        TaskProgressColumn(),
        console=console,
        transient=True,
        disable=is_quiet or not console.is_terminal,
    ) as progress:
        progress.add_task("upload", total=size_bytes)
        yield progress


def _where(status: JsonDict) -> str:
    state, stage = status["state"], status.get("stage")
    if state == "QUEUED" and status.get("queue_position") is not None:
        return f"queued, {status['queue_position']} before it"
    if state == "RUNNING" and stage == "probe" and (download := status.get("download")):
        return f"download, {download['done_bytes'] >> 20} MiB"
    return str(stage) if state == "RUNNING" and stage else str(state).lower()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"

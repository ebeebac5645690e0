"""The command `topclip`: its table of commands, and how errors become messages and exit codes.

A command's module is loaded when the command is used, so that `topclip --help` and `topclip submit` never load media
code. Messages go to standard error, documents to standard output.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from topclip.errors import ConfigError, InvalidRequest, QueueUnavailable, ServerUnreachable, TopClipError

OK, FAILED, USAGE, PARTIAL, OUT_OF_REACH, INTERRUPTED = 0, 1, 2, 3, 4, 130


class Entry(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "up": Entry("cli.up", "up", "Run the whole stack: Redis, a worker, Flower and the web server."),
    "submit": Entry("cli.remote", "submit", "Submit a video; --watch follows it, --out fetches its clips."),
    "status": Entry("cli.remote", "status", "Show how far a job is."),
    "clips": Entry("cli.remote", "clips", "List or download a job's clips."),
    "cancel": Entry("cli.remote", "cancel", "Cancel a job."),
    "retry": Entry("cli.remote", "retry", "Start a job again that failed, was cancelled or lacks clips."),
    "replan": Entry("cli.changes", "replan", "Plan an ended job again with other options."),
    "recut": Entry("cli.changes", "recut", "Give one clip of an ended job another range or framing."),
    "export": Entry("cli.changes", "export", "Write a job's plan for an editing program."),
    "jobs": Entry("cli.remote", "jobs", "List the jobs, newest first."),
    "delete": Entry("cli.remote", "delete", "Delete a finished job with its clips."),
    "shots": Entry("cli.shots", "shots", "Find the shot boundaries of a file; no server needed."),
    "plan": Entry("cli.local", "plan", "Show the highlights of a file and why; no server needed."),
    "cut": Entry("cli.cut", "cut", "Cut one frame-exact clip out of a file; no server needed."),
    "clip": Entry("cli.local", "clip", "Do the whole flow in this process; no server needed."),
    "drain": Entry("cli.drain", "drain", "Have workers end what they run and leave, for a deploy."),
    "keys": Entry("cli.keys", "keys", "Make, list and revoke API keys."),
    "doctor": Entry("cli.doctor", "doctor", "Check Redis, ffmpeg, disk, settings and workers."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by the table above and loads them one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order, which is that of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if (entry := COMMANDS.get(cmd_name)) is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="topclip")
def topclip() -> None:
    """Turn long videos into their top clips.

    Exit codes: 0 done, 1 failed, 2 usage or settings, 3 partial, 4 Redis or server out of reach, 130 interrupted.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    try:
        code = topclip.main(args=argv, prog_name="topclip", standalone_mode=False)
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except TopClipError as err:
        show_error(err)
        return exit_code(err)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code if isinstance(code, int) else OK


def show_error(err: TopClipError) -> None:
    """The message, and the hint below it."""
    click.echo(f"topclip: {err.message}", err=True)
    if err.hint:
        click.echo(f"  {err.hint}", err=True)


def exit_code(err: TopClipError) -> int:
    """The exit code that an error stands for."""
    if isinstance(err, QueueUnavailable | ServerUnreachable):
        return OUT_OF_REACH
    return USAGE if isinstance(err, InvalidRequest) or err.code == ConfigError.code else FAILED

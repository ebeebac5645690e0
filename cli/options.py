"""The options of a clip job as command line flags: one decorator for every command that takes them.

Flags and fields of ClipOptions bear the same names; what was not given keeps the model's default, so that a default
is written down once. A bad value is a usage error (exit code 2) that names the flag.
"""

import functools
from collections.abc import Callable
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

import click
from pydantic import ValidationError

from topclip.model.request import Aspect, Captions, CaptionStyle, ClipOptions, Fit, Mode, Quality, Weights

P = ParamSpec("P")
R = TypeVar("R")

REPEATED = ("weights", "keywords", "ranges")
FIELDS = tuple(name for name in ClipOptions.model_fields if name not in (*REPEATED, "callback_url"))
"""A callback is of a job on a server: `submit` has its flag."""


class Weight(click.ParamType[tuple[str, float]]):
    """NAME=VALUE, such as `motion=0.5`."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The pair of name and number."""
        name, _, number = str(value).partition("=")
        if name not in Weights.model_fields:
            self.fail(f"no signal {name!r}; there are {', '.join(Weights.model_fields)}", param, ctx)
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)


class TimeSpan(click.ParamType[tuple[float, float]]):
    """START-END, each in seconds or as [H:]MM:SS."""

    name = "START-END"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """The pair of seconds."""
        start, _, end = str(value).partition("-")
        try:
            return seconds(start), seconds(end)
        except ValueError:
            self.fail(f"{value!r} is not START-END in seconds or [H:]MM:SS", param, ctx)


class Seconds(click.ParamType[float]):
    """A time in seconds or as [H:]MM:SS."""

    name = "S"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        try:
            return seconds(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time in seconds or [H:]MM:SS", param, ctx)


def seconds(text: str) -> float:
    """Seconds of `12.5`, `1:02.5` or `1:00:02`. Raises: ValueError."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def _choice(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([item.value for item in kind])


FLAGS = (
    click.option("--count", type=int, help="Clips wanted at most."),
    click.option("--min-length", type=float, metavar="S", help="Shortest clip, seconds."),
    click.option("--max-length", type=float, metavar="S", help="Longest clip, seconds."),
    click.option("--aspect", type=_choice(Aspect), help="Shape of the clips."),
    click.option("--fit", type=_choice(Fit), help="How a picture of another shape is fitted in."),
    click.option("--loudness", type=float, metavar="LUFS", help="Integrated loudness of a clip."),
    click.option("--quality", type=_choice(Quality), help="Encoding effort."),
    click.option(
        "--mode",
        type=_choice(Mode),
        help="The best moments, or which ranges else.",
    ),
    click.option("--captions", type=_choice(Captions), help="Files beside the clips, or drawn into the pictures too."),
    click.option("--caption-style", type=_choice(CaptionStyle), help="How drawn captions look."),
    click.option("--transcribe", is_flag=True, default=None, help="Recognise speech where there is no text."),
    click.option("--weight", "weights", type=Weight(), multiple=True, help="Weight of a signal; may be repeated."),
    click.option("--keyword", "keywords", multiple=True, help="A word or phrase to look for; may be repeated."),
    click.option("--range", "ranges", type=TimeSpan(), multiple=True, help="A range to clip; may be repeated."),
)


ATTACHED = {
    "subtitles": "What is said and when: SRT, WebVTT or ASS.",
    "audience": "What an audience did, such as messages a minute: CSV or JSON of pairs, seconds and value.",
}
"""Files that may come with a source, by their fields of the request."""


def attached_options(kind: click.ParamType[Any], more: str = "") -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Add the flags of files that come with a source to a command, which receives those that were given as `attached`.

    kind: of their values. more: said in their help.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def with_attached(*args: Any, **kwargs: Any) -> R:
            given = {name: kwargs.pop(name) for name in ATTACHED}
            return command(*args, attached={name: file for name, file in given.items() if file is not None}, **kwargs)

        for name, text in reversed(ATTACHED.items()):
            with_attached = click.option(f"--{name}", type=kind, metavar="FILE", help=text + more)(with_attached)
        return with_attached

    return decorate


def clip_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the flags to a command, which receives them as one argument `options: ClipOptions`."""

    @functools.wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> R:
        given = {name: kwargs.pop(name) for name in (*FIELDS, *REPEATED)}
        return command(*args, options=build_options(given), **kwargs)

    for flag in reversed(FLAGS):
        with_options = flag(with_options)
    return with_options


def named_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the flags to a command, which receives what was given, and nothing else, as `asked`, fit for JSON."""

    @functools.wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> R:
        given = {name: kwargs.pop(name) for name in (*FIELDS, *REPEATED)}
        return command(*args, asked=_given(given), **kwargs)

    for flag in reversed(FLAGS):
        with_options = flag(with_options)
    return with_options


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """What of the flags was given."""
    values = {name: value for name, value in flags.items() if value not in (None, ())}
    if "weights" in values:
        values["weights"] = dict(values["weights"])
    return values


def build_options(given: dict[str, Any]) -> ClipOptions:
    """Options from flags; None and empty are "not given". `--range` alone means mode `ranges`.

    Raises: click.UsageError naming each bad flag.
    """
    values = _given(given)
    if "ranges" in values:
        values.setdefault("mode", Mode.RANGES)
    try:
        return ClipOptions.model_validate(values)
    except ValidationError as err:
        raise click.UsageError("; ".join(_fault(e) for e in err.errors())) from err


def _fault(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    flag = {"weights": "weight", "ranges": "range", "keywords": "keyword"}.get(error["loc"][0], str(error["loc"][0]))
    return f"--{flag.replace('_', '-')}: {message}"

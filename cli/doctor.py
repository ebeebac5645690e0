"""`topclip doctor`: the findings of stack.doctor, for people or as JSON."""

import json
from pathlib import Path

import click

from stack.doctor import examine
from stack.findings import Check

MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
OUT_OF_REACH = 4


@click.command()
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Data folder to look at.")
@click.option("--redis-url", help="Redis to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print the list of checks.")
def doctor(data_dir: Path | None, redis_url: str | None, as_json: bool) -> int:
    """Check settings, folders, disk, ffmpeg, Redis and workers, and say what to do.

    Exit code: 0 if nothing failed, 1 if something did, 4 if Redis is out of reach.
    """
    diagnosis = examine(data_dir=data_dir, redis_url=redis_url)
    if as_json:
        click.echo(json.dumps([check.to_dict() for check in diagnosis.checks]))
    else:
        for check in diagnosis.checks:
            _show(check)
    if not diagnosis.has_redis:
        return OUT_OF_REACH
    return 0 if diagnosis.is_well else 1


def _show(check: Check) -> None:
    mark, colour = MARKS[check.grade]
    click.echo(f"{click.style(f'{mark:<4}', fg=colour)} {check.name:<14} {check.message}")
    if check.advice:
        click.echo(f"{'':<20}{check.advice}")

"""`topclip drain`: have workers end what they run and leave."""

import json
import time

import click

from topclip.config import Settings
from workers.drain import Drain

LOOK_EVERY_S = 1.0
FAILED = 1
Worker = tuple[str, int]
"""Name and process id: whoever is started again in its place is another."""


@click.command()
@click.argument("workers", nargs=-1, metavar="[WORKER]...")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Wait so many seconds at most.")
@click.option("--redis-url", help="Redis of the workers.")
@click.option("--json", "as_json", is_flag=True, help="Print which workers left and which still run.")
def drain(workers: tuple[str, ...], timeout_s: float | None, redis_url: str | None, as_json: bool) -> int:
    """Have each WORKER, or all, take no more tasks, end what it runs however long that takes, and leave.

    For deploys beside hour-long jobs. New workers may be started at once: they take what the old ones no longer do. Whoever
    supervises a worker starts it again when it has left. Exit code 1 if some still run when the time is up; they leave later.
    """
    work = Drain(Settings.from_env(redis_url=redis_url))
    try:
        asked = work.ask(workers)
        running = _wait(work, asked, timeout_s)
    finally:
        work.close()
    if as_json:
        click.echo(json.dumps({"left": [w[0] for w in asked if w not in running], "running": [w[0] for w in running]}))
    elif not asked:
        click.echo("no worker is there", err=True)
    return FAILED if running else 0


def _wait(work: Drain, asked: list[Worker], timeout_s: float | None) -> list[Worker]:
    """Wait for them to leave, and say what each does whenever that changes; those that still run."""
    end = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
    said: dict[Worker, str] = {}
    while True:
        live = work.live()
        for worker in asked:
            does = f"runs {live[worker]} tasks" if worker in live else "has left"
            if said.get(worker) != does:
                click.echo(f"{worker[0]} {does}", err=True)
            said[worker] = does
        running = [worker for worker in asked if worker in live]
        if not running or time.monotonic() >= end:
            return running
        time.sleep(LOOK_EVERY_S)

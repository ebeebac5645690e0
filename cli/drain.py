"""`topclip drain`: have workers end what they run and leave."""

import json
import time

import click

from topclip.config import Settings
from topclip.errors import QueueUnavailable
from workers.drain import Drain, Worker

LOOK_EVERY_S = 1.0
BACK_AFTER_S = 5.0
"""After Redis was away, the time in which every worker that is there has said so."""
FAILED = 1


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
    """Wait for them to leave, and say what each does whenever that changes; those that still run.

    Who has not heard is told again. A Redis that does not answer is waited for: that can take hours anyhow.
    """
    end = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
    said: dict[Worker, str] = {}
    running, silent_at = asked, float("-inf")
    while True:
        try:
            live = work.live()
            work.tell([worker for worker in running if worker in live and not live[worker]["leaving"]])
        except QueueUnavailable as err:
            if time.monotonic() > silent_at + BACK_AFTER_S:
                click.echo(f"{err.message}; waiting for it", err=True)
            live, silent_at = {}, time.monotonic()
        if time.monotonic() > silent_at + BACK_AFTER_S:
            running = [worker for worker in running if worker in live]
        for worker in asked:
            does = f"runs {live[worker]['active']} tasks" if worker in live else "has left"
            if (worker in live or worker not in running) and said.get(worker) != does:
                click.echo(f"{worker[0]} {does}", err=True)
                said[worker] = does
        if not running or time.monotonic() >= end:
            return running
        time.sleep(LOOK_EVERY_S)

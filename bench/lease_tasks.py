"""The tasks of the lease bench: one that does nothing, and one that takes its time and counts its starts."""

import time

from celery import Celery

from topclip.config import Settings
from workers.links import KEEPER, redis_client


def register(app: Celery, settings: Settings) -> None:
    """Give an application the tasks."""

    @app.task(name="bench.empty", ignore_result=True)
    def empty() -> None:
        """Do nothing."""

    @app.task(name="bench.long", ignore_result=True)
    def long(n: int, seconds: float) -> None:
        """Count a start, and wait."""
        redis = redis_client(settings, KEEPER)
        redis.hincrby("bench-starts", str(n), 1)
        time.sleep(seconds)
        redis.hincrby("bench-ends", str(n), 1)
        redis.close()

"""Drain workers: have them take no more tasks, end those that they run, however long that takes, and leave.

SIGTERM is the other way: a bounded wait, then what still runs goes back to its queue (`workers/leaving.py`).
"""

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import InvalidRequest
from workers import health
from workers.links import WEB, make_app, redis_client
from workers.reach import unavailable

Worker = tuple[str, str]
"""Name and run: whoever is started again in its place is another."""


class Drain:
    """Workers that are asked to leave. Raises: QueueUnavailable from every method."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.key_prefix
        self._redis = redis_client(settings, WEB)
        self._app: Celery = make_app(settings, WEB, "topclip-drain")

    def live(self) -> dict[Worker, dict[str, Any]]:
        """What each worker says of itself (`workers.health.live_workers`) that was heard of in the last seconds."""
        try:
            found = health.live_workers(self._redis, self._prefix)
            return {(worker["name"], worker["run"]): worker for worker in found}
        except (RedisError, OSError) as err:
            raise unavailable(err) from err

    def ask(self, names: tuple[str, ...]) -> list[Worker]:
        """Ask these workers to leave, all of them where none is named; which those are.

        Raises: InvalidRequest for a name that no live worker has.
        """
        live = self.live()
        known = {name for name, _ in live}
        if unknown := [name for name in names if name not in known]:
            hint = f"there are: {', '.join(sorted(known)) or 'none'}"
            raise InvalidRequest(f"no such worker: {', '.join(unknown)}", {"field": "worker", "hint": hint})
        asked = [worker for worker in live if not names or worker[0] in names]
        self.tell(asked)
        return asked

    def tell(self, workers: list[Worker]) -> None:
        """Tell these workers to leave. One that connects to Redis anew just then does not hear it."""
        if not workers:
            return
        names, runs = zip(*workers, strict=True)
        try:
            self._app.control.broadcast("leave", destination=list(names), arguments={"runs": list(runs)})
        except (OperationalError, RedisError, OSError) as err:
            raise unavailable(err) from err

    def close(self) -> None:
        """Close the connections."""
        self._app.close()
        self._redis.close()

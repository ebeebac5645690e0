"""Drain workers: have them take no more tasks, end those that they run, however long that takes, and leave.

SIGTERM is the other way: a bounded wait, then what still runs goes back to its queue (`workers/leaving.py`).
"""

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import InvalidRequest
from workers import health
from workers.links import WEB, make_app, redis_client
from workers.reach import unavailable


class Drain:
    """Workers that are asked to leave. Raises: QueueUnavailable from every method."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.key_prefix
        self._redis = redis_client(settings, WEB)
        self._app: Celery = make_app(settings, WEB, "topclip-drain")

    def live(self) -> dict[tuple[str, int], int]:
        """How many tasks each worker runs that was heard of in the last seconds, by its name and process id."""
        try:
            found = health.live_workers(self._redis, self._prefix)
            return {(worker["name"], worker["pid"]): worker["active"] for worker in found}
        except (RedisError, OSError) as err:
            raise unavailable(err) from err

    def ask(self, names: tuple[str, ...]) -> list[tuple[str, int]]:
        """Ask these workers to leave, all of them where none is named; name and process id of each.

        Raises: InvalidRequest for a name that no live worker has.
        """
        live = self.live()
        known = {name for name, _ in live}
        if unknown := [name for name in names if name not in known]:
            hint = f"there are: {', '.join(sorted(known)) or 'none'}"
            raise InvalidRequest(f"no such worker: {', '.join(unknown)}", {"field": "worker", "hint": hint})
        asked = [worker for worker in live if not names or worker[0] in names]
        if asked:
            try:
                self._app.control.broadcast("leave", destination=[name for name, _ in asked])
            except (OperationalError, RedisError, OSError) as err:
                raise unavailable(err) from err
        return asked

    def close(self) -> None:
        """Close the connections."""
        self._app.close()
        self._redis.close()

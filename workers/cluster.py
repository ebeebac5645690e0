"""Redis Cluster is refused at the start: Celery cannot use it, as broker or as result backend.

kombu's transport and Celery's backend follow no MOVED, and take keys of several slots in one command (a queue and what is
unacknowledged of it). A cluster of one node would seem to work until its first join.
"""

import contextlib

from redis import Redis
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import ConfigError
from topclip.redis_url import CLUSTER_HINT
from workers.links import KEEPER, redis_client


def refuse_cluster(settings: Settings) -> None:
    """Raises: ConfigError if Redis answers and is a cluster. One that is away, or keeps it from us, says so later itself."""
    with contextlib.suppress(RedisError), redis_client(settings, KEEPER) as redis:
        if is_cluster(redis):
            text = f"{settings.masked_redis_url} is a Redis Cluster, which Celery cannot use"
            raise ConfigError(text, {"field": "redis_url", "hint": CLUSTER_HINT})


def is_cluster(redis: Redis) -> bool:
    """Whether the server runs in cluster mode. Raises: RedisError."""
    return bool(int(redis.info("cluster").get("cluster_enabled", 0)))

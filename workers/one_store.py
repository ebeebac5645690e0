"""One store for all: the web server says in Redis which one it uses, and a worker that finds another does not start.

Such a worker would take tasks and fail them, since the files of every job are missing where it looks. Its store is another
where TOPCLIP_STORE was forgotten, names another prefix, or is a network folder that is not mounted.
"""

import contextlib
import os

from redis import Redis
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import ConfigError, StorageError
from topclip.storage.base import ArtifactStore
from topclip.storage.local import STAGING
from topclip.storage.mark import known_mark
from workers import keys
from workers.links import KEEPER, redis_client

MARK = "mark"
HINT = (
    "TOPCLIP_STORE is to name the same store for the web server and all workers: one folder that all of them mount, or one"
    " s3:// URL; after a move to another store start the web server anew first"
)


def name_store(redis: Redis, prefix: str, mark: str) -> None:
    """Say which store the web server uses. Raises: RedisError."""
    redis.hset(prefix + keys.STORE, MARK, mark)


def is_another(redis: Redis, prefix: str, store: ArtifactStore) -> bool:
    """Whether the web server uses another store than this; not while it has not said. Raises: RedisError, StorageError."""
    named = redis.hget(prefix + keys.STORE, MARK)
    return named is not None and named != known_mark(store)


def is_unmounted(settings: Settings, redis: Redis) -> bool:
    """Whether the store is a folder that holds none, though the web server uses one. To open it would make a store of it, which
    the web server, if its own is the same, would take for its own. Raises: RedisError.
    """
    if "://" in settings.store or os.path.isdir(settings.store_dir / STAGING):
        return False
    return bool(redis.hexists(settings.key_prefix + keys.STORE, MARK))


def refuse_unmounted(settings: Settings) -> None:
    """Raises: ConfigError if the store is unmounted. A Redis that is away is asked at the next start."""
    with contextlib.suppress(RedisError), redis_client(settings, KEEPER) as redis:
        if is_unmounted(settings, redis):
            text = f"the store {settings.store_dir} is not the one that the web server uses: it holds none"
            raise ConfigError(text, {"field": "store", "hint": f"is the share mounted? {HINT}"})


def refuse_another(settings: Settings, store: ArtifactStore) -> None:
    """Raises: ConfigError if the store is not the web server's. A Redis or store that is away is asked at the next start."""
    with contextlib.suppress(RedisError, StorageError), redis_client(settings, KEEPER) as redis:
        if is_another(redis, settings.key_prefix, store):
            text = f"the store {settings.store or settings.store_dir} is not the one that the web server uses"
            raise ConfigError(text, {"field": "store", "hint": HINT})

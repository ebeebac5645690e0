"""What Redis' errors mean: that it refuses to write, and why it does not serve us, in words.

A Redis that answers and refuses to write is an outage, like one that does not answer: nobody ends for it, all try again. It
refuses after a snapshot that failed (MISCONF), at the end of its memory (OOM), as a replica (READONLY, MASTERDOWN), where its
own are away (NOREPLICAS), where its ACL was narrowed (NOPERM), or while somebody's script does not end (BUSY). To Celery these
are errors of whoever asked: its consumer would end and leave a worker that renews its leases and hears of nothing
(workers/consumer.py), and a result would not be stored (workers/backend.py).
"""

import re
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

WORDS: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...] | None, str, str], ...]] = (
    (None, r"\bMISCONF\b", "refuses to write: it cannot save its data (MISCONF)"),
    (OutOfMemoryError, r"\bOOM\b|used memory > 'maxmemory'", "refuses to write: its memory is full (OOM)"),
    (ReadOnlyError, r"\bREADONLY\b|read only replica", "refuses to write: it is a replica (READONLY)"),
    (MasterDownError, r"\bMASTERDOWN\b", "refuses to write: it is a replica without its master (MASTERDOWN)"),
    (None, r"\bBUSY Redis\b", "refuses to write: a script runs in it and does not end (BUSY)"),
    (None, r"\bNOREPLICAS\b", "refuses to write: too few replicas follow it (NOREPLICAS)"),
    (
        NoPermissionError,
        r"\bNOPERM\b|has no permissions|ACL failure in script|user executing the script can't",
        "refuses to write: its ACL denies that to our user (NOPERM)",
    ),
    (
        (MovedError, ClusterCrossSlotError, ClusterDownError),
        r"\b(MOVED|CROSSSLOT|CLUSTERDOWN)\b|in request don't hash to the same slot|non local key in a cluster node",
        "is a Redis Cluster, which Celery cannot use: see docs/redis.md",
    ),
    (AuthenticationError, r"\b(NOAUTH|WRONGPASS)\b", "refuses our password: see REDIS_URL"),
    (None, r"max number of clients", "takes no more connections (maxclients)"),
    (BusyLoadingError, r"\bLOADING\b", "is still loading its data"),
    (RedisTimeoutError, r"^Timeout", "does not answer in time"),
)
"""Kind of error, its text wherever it stands (Redis 6 tells what stopped a script in words of its own, kombu wraps what it
meets, redis-py cuts off the codes that it has a class for), and the end of a sentence about Redis. None of the text itself goes
out: it could tell of an address or a user.
"""


def reason(err: BaseException) -> str:
    """Why Redis does not serve us, as the end of a sentence that begins with its name."""
    found = _known(err)
    return found or f"does not answer ({type(err).__name__})"


def refuses_writes(err: BaseException) -> bool:
    """Whether Redis answered that it does not write now, whoever asks."""
    return isinstance(err, ResponseError) and (_known(err) or "").startswith("refuses to write")


def _known(err: BaseException) -> str | None:
    text = str(err)
    for kind, pattern, words in WORDS:
        if (kind and isinstance(err, kind)) or re.search(pattern, text):
            return words
    return None

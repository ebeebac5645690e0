"""A Redis that answers and refuses to write is an outage, like one that does not answer: nobody ends for it, all try again.

It refuses after a snapshot that failed (MISCONF), at the end of its memory (OOM), as a replica (READONLY, MASTERDOWN), or where
its own are away (NOREPLICAS). To Celery these are errors of whoever asked: its consumer would end and leave a worker that
renews its leases and hears of nothing (workers/consumer.py), and a result would not be stored (workers/backend.py).
"""

import re
from typing import Final

from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError

CODES: Final = re.compile(r"\b(MISCONF|OOM|READONLY|MASTERDOWN|NOREPLICAS)\b")
"""Anywhere in the text: Redis 6 tells what stopped a script in words of its own. redis-py cuts off those it has a class for."""


def refuses_writes(err: Exception) -> bool:
    """Whether Redis answered that it does not write now, whoever asks."""
    if isinstance(err, OutOfMemoryError | ReadOnlyError | MasterDownError):
        return True
    return isinstance(err, ResponseError) and CODES.search(str(err)) is not None

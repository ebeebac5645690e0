"""The worker's consumer: whatever error Redis answers, it makes its connection anew, after a pause, as if that had been lost.

Stock Celery ends its consumer for what it takes for a mistake in the question; but its questions are always the same, and what
Redis may refuse is to write (workers/refusal.py), or what an operator has yet to allow.
"""

import time
from typing import Final

import kombu.transport.redis as kombu_redis
from celery.worker.consumer import Consumer
from redis.exceptions import ResponseError

PAUSE_S: Final = 1.0
"""A full Redis answers PING and BRPOP, and would be asked without end."""


def install() -> None:
    """Have kombu, and so Celery, take an error that Redis answers for a lost connection."""
    for transport in (kombu_redis.Transport, kombu_redis.SentinelTransport):
        if ResponseError not in transport.connection_errors:
            transport.connection_errors = (*transport.connection_errors, ResponseError)


class PausingConsumer(Consumer):  # type: ignore[misc]  # Celery is untyped here
    """Celery's consumer, with a pause."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Give up the connection; Celery then makes it anew."""
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, ResponseError):
            time.sleep(PAUSE_S)

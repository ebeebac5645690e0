"""Polling with a deadline, in place of sleeping."""

import time
from collections.abc import Callable

DEADLINE_S = 30.0


def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S, what: str = "the condition") -> None:
    """Return as soon as the condition holds; fail after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what} does not hold after {deadline_s:g} s"
        time.sleep(0.05)

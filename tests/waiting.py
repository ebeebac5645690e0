"""Waiting with a deadline, never for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    ask: Callable[[], T], seconds: float = 30, otherwise: str | Callable[[], str] = "", step_s: float = 0.05
) -> T:
    """The first true answer. Raises: AssertionError with `otherwise` when the time is up."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > end:
            raise AssertionError(otherwise() if callable(otherwise) else otherwise or f"not within {seconds} s")
        time.sleep(step_s)
    return answer

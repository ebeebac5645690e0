"""Where figures go, with what made them."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5


def pairs(a: Callable[[], float], b: Callable[[], float], rounds: int = ROUNDS) -> tuple[list[float], list[float]]:
    """Measure two things in turn, A B A B, after one round that does not count: a slow moment hits both."""
    a(), b()
    found = [(a(), b()) for _ in range(rounds)]
    return [x for x, _ in found], [y for _, y in found]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": round(min(values), 4), "median": round(statistics.median(values), 4), "max": round(max(values), 4)}


def write(name: str, command: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    document = {"command": command, "at": time.strftime("%Y-%m-%d", time.gmtime()), "on": machine, "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(document, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)

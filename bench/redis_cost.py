"""What Redis spends, and on what: processor time, commands and bytes between two moments; what each kind of command takes."""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Self

from workers import lease
from workers.scripts import Scripts

LONGEST_SAMPLE = 400_000
"""Commands that one sample may hold."""
LEASE_SCRIPTS = {
    name.lower(): getattr(lease, name).strip()
    for name in ("TAKE", "ACK", "HAND_BACK", "BEAT", "REAP", "RENEW", "PUT_BACK", "LATE_HAND_BACK")
}
SHOWN = 120
"""Characters of an argument that SLOWLOG keeps, at least."""


@dataclass(frozen=True)
class Reading:
    """Redis' own counters at one moment."""

    at: float
    cpu_s: float
    calls: int
    scripts: int
    bytes_in: int
    bytes_out: int

    @classmethod
    def now(cls, redis: Any) -> Self:
        """Take one; it costs three commands."""
        info = redis.info()
        found = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in redis.info("commandstats").items()}
        return cls(
            time.monotonic(),
            info["used_cpu_user"] + info["used_cpu_sys"],
            sum(found.values()),
            found.get("eval", 0) + found.get("evalsha", 0),
            info["total_net_input_bytes"],
            info["total_net_output_bytes"],
        )

    def since(self, before: "Reading") -> "Spent":
        """What was spent in between."""
        return Spent(
            self.at - before.at,
            self.cpu_s - before.cpu_s,
            self.calls - before.calls,
            self.scripts - before.scripts,
            self.bytes_in - before.bytes_in,
            self.bytes_out - before.bytes_out,
        )


@dataclass(frozen=True)
class Spent:
    """What Redis spent in some seconds. calls: of all commands, those inside scripts too. scripts: of EVAL and EVALSHA."""

    seconds: float
    cpu_s: float
    calls: float
    scripts: float
    bytes_in: float
    bytes_out: float

    def less(self, idle: "Spent") -> "Spent":
        """The same without what goes on in any case, as measured over another stretch of time."""
        share = self.seconds / idle.seconds
        return Spent(
            self.seconds,
            *(
                getattr(self, name) - share * getattr(idle, name)
                for name in ("cpu_s", "calls", "scripts", "bytes_in", "bytes_out")
            ),
        )


def kinds(redis: Any, prefix: str, seconds: float) -> dict[str, tuple[int, int]]:
    """Watch for some seconds: kind of command -> how often clients sent it, and microseconds that Redis executed it.

    By SLOWLOG, which counts neither reading nor answering. It takes time itself, most of all for what a script asks, which
    older servers log one by one: the times compare kinds with one another, no more.
    """
    names = {script.sha: name for name, script in Scripts(redis, prefix)._scripts.items()}
    redis.config_set("slowlog-max-len", LONGEST_SAMPLE)
    redis.slowlog_reset()
    redis.config_set("slowlog-log-slower-than", 0)
    time.sleep(seconds)
    redis.config_set("slowlog-log-slower-than", 10_000)
    calls: dict[str, int] = defaultdict(int)
    micros: dict[str, int] = defaultdict(int)
    for entry in redis.slowlog_get(LONGEST_SAMPLE):
        if _text(entry["client_address"]).startswith("?"):  # asked by a script
            continue
        kind = _kind(_text(entry["command"]), names)
        calls[kind] += 1
        micros[kind] += entry["duration"]
    redis.slowlog_reset()
    return {kind: (calls[kind], micros[kind]) for kind in sorted(calls, key=lambda k: -micros[k])}


def _kind(command: str, names: dict[str, str]) -> str:
    word, _, rest = command.partition(" ")
    if word.upper() == "EVALSHA":
        return "script " + names.get(rest[:40], "of Celery")
    if word.upper() == "EVAL":
        text = rest.strip()
        found = (name for name, script in LEASE_SCRIPTS.items() if script[:SHOWN] == text[: len(script[:SHOWN])])
        return "lease " + next(found, "other")
    return word.upper()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

"""`python -m bench [NAME]...`: measure, print, and write bench/results/<name>.json; fuzz, soak and scale take `--help`."""

import sys

from bench import (
    cut,
    fairness,
    first,
    framing,
    fuzz,
    job,
    lease,
    memory,
    render,
    scale,
    select,
    shots,
    soak,
    streams,
    web,
)

BENCHES = {
    "web": web.measure,
    "job": job.measure,
    "lease": lease.measure,
    "fairness": fairness.measure,
    "select": select.measure,
    "streams": streams.measure,
    "cut": cut.measure,
    "render": render.measure,
    "shots": shots.measure,
    "first": first.measure,
    "framing": framing.measure,
    "memory": memory.measure,
}
TRIALS = {"fuzz": fuzz.main, "soak": soak.main, "scale": scale.main}
"""These take arguments of their own, and run only when they are named."""


def main() -> int:
    """Run the named benches, or all."""
    if trial := TRIALS.get("".join(sys.argv[1:2])):
        trial(sys.argv[2:])
        return 0
    wanted = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in wanted if name not in BENCHES]:
        there_are = ", ".join([*BENCHES, *TRIALS])
        print(f"no such bench: {', '.join(unknown)}; there are {there_are}", file=sys.stderr)
        return 2
    for name in wanted:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())

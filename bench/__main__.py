"""`python -m bench [web|job] ...`: measure, print, and write bench/results/<name>.json."""

import sys

from bench import job, soak, web

BENCHES = {"web": web.measure, "job": job.measure}


def main() -> int:
    """Run the named benches, or all."""
    if sys.argv[1:2] == ["soak"]:
        soak.main(sys.argv[2:])
        return 0
    wanted = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in wanted if name not in BENCHES]:
        print(f"no such bench: {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in wanted:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How processes log: one line a record, to standard error."""

import logging


def configure(level: str) -> None:
    """Set the root logger up, once a process."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

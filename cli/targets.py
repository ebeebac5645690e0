"""What a command writes must not be what it reads."""

import os
from pathlib import Path

from topclip.errors import InvalidRequest


def refuse_source(source: Path | None, *targets: Path) -> None:
    """Refuse to write where the source lies, whatever name leads there; None: it lies elsewhere. Raises: InvalidRequest."""
    for target in targets:
        if source and os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target):
            raise InvalidRequest(
                f"--out would replace the source: {target} is {source}", {"field": "out", "hint": "write elsewhere"}
            )

"""Where a command reads and where it writes: files, URLs, and that it does not write what it reads."""

import os
from pathlib import Path

import click

from topclip.errors import InvalidRequest
from topclip.outbound.text import is_url


class FileOrUrl(click.Path):
    """A file that is there, or a URL, which stays a text."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """The path or the URL. Fails if it is neither."""
        return value if isinstance(value, str) and is_url(value) else super().convert(value, param, ctx)


class LocalFile(click.Path):
    """A file that is there."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """The path. Fails if it is none, and says of a URL what takes one."""
        if isinstance(value, str) and is_url(value):
            self.fail("a URL is taken by `topclip cut` and `topclip submit`; download it for this command", param, ctx)
        return super().convert(value, param, ctx)


def refuse_source(source: Path | None, *targets: Path) -> None:
    """Refuse to write where the source lies, whatever name leads there; None: it lies elsewhere. Raises: InvalidRequest."""
    for target in targets:
        if source and os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target):
            raise InvalidRequest(
                f"--out would replace the source: {target} is {source}", {"field": "out", "hint": "write elsewhere"}
            )

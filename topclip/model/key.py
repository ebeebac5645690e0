"""An API key as it is kept: who it stands for, and a hash in its place."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from topclip.model.base import Model, says_nothing

KeyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
"""Fit for a file, for a key of Redis and for a log."""


class ApiKey(Model):
    """A key that opens the doors. Several keys may stand for one owner, so that one can be replaced by another.
    One that is for metrics opens `/metrics` alone.

    `sha256` is the hash of the key as hexadecimal digits. A plain hash is right here: the key is 256 random bits, which nobody
    guesses however fast he hashes; slow hashes are for passwords that people choose, and would cost every request.
    """

    name: KeyName
    owner: KeyName
    is_admin: bool = False
    is_for_metrics: bool = Field(False, exclude_if=says_nothing)
    sha256: str
    created_at: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """What names the key where the key itself must not be: in a cookie, in a counter."""
        return self.sha256[:16]

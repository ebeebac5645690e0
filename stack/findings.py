"""What `topclip doctor` finds: one check, and what it stands for."""

from dataclasses import asdict, dataclass
from typing import Literal

Grade = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One finding. `advice` says what to do where the grade is not ok."""

    name: str
    grade: Grade
    message: str
    advice: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """As `topclip doctor --json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and whether Redis could be reached."""

    checks: tuple[Check, ...]
    has_redis: bool

    @property
    def is_well(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(check.grade != "fail" for check in self.checks)

"""What an audience did over the time of a source, as somebody counted it."""

from typing import Self

from pydantic import Field

from topclip.model.base import Model


class AudienceCurve(Model):
    """Values over time, such as messages a minute or how often a moment was replayed.

    times_s: strictly rising, seconds from the source's first frame; some may lie before it or behind the end. values: of each.
    """

    times_s: tuple[float, ...]
    values: tuple[float, ...]

    def moved(self, by_s: float) -> Self:
        """The curve so much later."""
        return self.model_copy(update={"times_s": tuple(at_s + by_s for at_s in self.times_s)}) if by_s else self


class AudienceRef(Model):
    """Where a job's audience curve lies in the store."""

    key: str = Field(description="Key in the artifact store.")

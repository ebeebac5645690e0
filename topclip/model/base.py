"""What every model shares. Must hold no behaviour beyond JSON."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

JsonDict = dict[str, Any]


def says_nothing(value: object) -> bool:
    """Whether a field that a newer release has brought is left out: an older one, beside it in an upgrade, would refuse it."""
    return value is None or value is False


class Model(BaseModel):
    """A frozen value that refuses unknown fields and numbers that are none: JSON has no word for them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_dict(self) -> JsonDict:
        """The value as JSON types."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, value: JsonDict) -> Self:
        """The value back from JSON types."""
        return cls.model_validate(value)

"""What became of telling a job's end to the URL that its client gave."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from topclip.model.base import Model


class CallbackTry(Model):
    """One try."""

    id: str = Field(description="The event's `webhook-id`, the same in all tries to tell one end.")
    n: int = Field(description="Number of the try, from 1.")
    at: datetime
    took_s: float
    status: int | None = Field(None, description="HTTP status of the answer; null if there was none.")
    error: str | None = Field(None, description="Why it was no success; null if it was.")


class CallbackLog(Model):
    """Who is told of a job's end, and the tries so far."""

    url: str | None = Field(description="Null if nobody is; shown without its query.")
    state: Literal["PENDING", "DELIVERED", "GIVEN_UP", "SUPERSEDED"] | None = Field(
        description="Of the job's last end; null while there is nothing to tell. SUPERSEDED: the job was started again first."
    )
    next_try_at: datetime | None = Field(description="Earliest time of the next try; null if there is none.")
    tries: tuple[CallbackTry, ...] = Field(description="The last 50, oldest first, those for earlier ends included.")

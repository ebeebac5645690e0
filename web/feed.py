"""What followers of a job are told, and when: never the same twice, never an older version after a newer one."""

import json
from dataclasses import dataclass

from topclip.errors import JobExpired, QueueUnavailable, StorageError, UnknownJob
from topclip.model.base import JsonDict
from topclip.model.job import JobId
from web.schemas import status_document
from web.status_cache import StatusCache, Version, version_of

VOLATILE = ("as_of", "source", "eta_s")


@dataclass(frozen=True)
class News:
    """One look at a job, made once for all who follow it. `text` is the event; `lasting` what makes it another one."""

    text: str
    version: Version | None
    lasting: JsonDict
    is_stale: bool = False
    is_last: bool = False


def look(cache: StatusCache, job_id: JobId) -> News | None:
    """What there is to tell of the job now; None where nobody knows: Redis, or the store for it, does not answer."""
    try:
        reading = cache.get(job_id)
    except (QueueUnavailable, StorageError):
        return None
    except (UnknownJob, JobExpired) as err:
        document = {"code": err.code, "detail": err.message}
        return News(f"event: gone\ndata: {json.dumps(document)}\n\n", None, document, is_last=True)
    version = version_of(reading.status)
    document = status_document(reading)
    return News(
        text=f"event: status\nid: {version[0]}-{version[1]}\ndata: {json.dumps(document)}\n\n",
        version=version,
        lasting={k: v for k, v in document.items() if k not in VOLATILE},
        is_stale=reading.stale,
        is_last=reading.status.state.is_terminal and not reading.stale,
    )


class Feed:
    """What one client was told. seen: the version that it has already, if it says so."""

    def __init__(self, seen: Version | None) -> None:
        self._seen = seen
        self._told: JsonDict | None = None

    def takes(self, news: News) -> bool:
        """Whether the client is to be told; it counts as told from here on."""
        is_first = self._told is None
        if not is_first and news.lasting == self._told:
            return False
        self._told = news.lasting
        return not (is_first and self._has_seen(news))

    def _has_seen(self, news: News) -> bool:
        return bool(self._seen and news.version and news.version <= self._seen and not news.is_stale)

"""The same for many jobs, of which one that cannot be worked on holds up no other."""

import logging
from collections.abc import Callable, Iterable

from redis.exceptions import ResponseError

from topclip.errors import NotRemoved, StorageError
from workers.refusal import refuses_writes

log = logging.getLogger(__name__)


def of_each(jobs: Iterable[str], act: Callable[[str], bool]) -> list[str]:
    """The jobs for which it was so. One whose keys or files are not what they should be is left out, and told.

    Raises: what `act` does where that is no fault of one job: RedisError, OperationalError, StorageError.
    """
    done = []
    for job in jobs:
        try:
            if act(job):
                done.append(job)
        except StorageError as err:
            if not _is_of_one(err):
                raise
            log.warning("reconciler: job %s is left as it is: %s", job, err)
        except ResponseError as err:
            if refuses_writes(err):
                raise
            log.warning("reconciler: job %s is left out: %s", job, err)
    return done


def _is_of_one(err: StorageError) -> bool:
    """Whether these files alone are closed to us: another user's, as after a restore."""
    return isinstance(err, NotRemoved) or isinstance(err.__cause__, PermissionError)

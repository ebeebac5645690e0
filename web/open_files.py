"""How many files the web process may have open: each connection is one, and many systems allow 1024 by default."""

import resource

from topclip.config import Settings

OTHER = 512
"""Kept-alive connections, those to Redis, the store's files, code."""


def needed(settings: Settings) -> int:
    """Open files when all places and threads are taken; a thread has a client and Redis."""
    return settings.max_streams + 2 * settings.web_threads + OTHER


def allow(settings: Settings) -> int:
    """Raise this process's limit as far as it needs and may; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(settings)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)


def most() -> int | None:
    """How many a process of this user may have; None: any number."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard

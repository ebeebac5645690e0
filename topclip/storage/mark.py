"""The mark of a store: random, made once, and the same to all who use that store, by whatever path or URL."""

from uuid import uuid4

from topclip.errors import ArtifactMissing
from topclip.storage.base import ArtifactStore

MARK = "store/mark"


def mark_of(store: ArtifactStore) -> str:
    """The store's mark, made if there is none. Raises: StorageError."""
    return known_mark(store) or _made(store)


def known_mark(store: ArtifactStore) -> str | None:
    """The store's mark, None while nobody has used it. Raises: StorageError."""
    try:
        return store.get_bytes(MARK).decode()
    except ArtifactMissing:
        return None


def _made(store: ArtifactStore) -> str:
    store.put_bytes(MARK, uuid4().hex.encode())  # of several who do so at once, one is first
    return store.get_bytes(MARK).decode()

"""Numbers that are kept in the store for later jobs. What cannot be read any more is removed, and then made anew."""

import zipfile
from collections.abc import Callable
from tokenize import TokenError
from typing import TypeVar

from topclip.errors import ArtifactDamaged, ArtifactMissing
from topclip.storage.base import ArtifactStore

T = TypeVar("T")

UNREADABLE = (ValueError, KeyError, EOFError, RuntimeError, TokenError, zipfile.BadZipFile, ArtifactDamaged)
"""What numpy, zipfile and pydantic say of damage, as bits flipped at random tell."""


def kept(key: str, read: Callable[[bytes], T], store: ArtifactStore) -> T | None:
    """What lies under a key; None if nothing does that can be read. read(content): raises UNREADABLE. Raises: StorageError."""
    if not store.exists(key):
        return None
    try:
        return read(store.get_bytes(key))
    except UNREADABLE:
        store.delete(key)
    except ArtifactMissing:  # another has just removed it
        pass
    return None


def publish(key: str, content: bytes, store: ArtifactStore) -> None:
    """Have these bytes lie under a key that names them; what lies there already stays, unless it is damaged.

    Raises: StorageError.
    """
    if store.put_bytes(key, content):
        return
    try:
        is_whole = store.get_bytes(key) == content
    except (ArtifactDamaged, ArtifactMissing):
        is_whole = False
    if not is_whole:
        store.delete(key)
        store.put_bytes(key, content)


def must_be_kept(key: str, read: Callable[[bytes], T], store: ArtifactStore) -> T:
    """What lies under a key. Raises: ArtifactMissing if nothing does that can be read, StorageError."""
    found = kept(key, read, store)
    if found is None:
        raise ArtifactMissing(f"no artifact {key}", {"key": key})
    return found

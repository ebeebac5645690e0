"""Which artifact store the settings name."""

import re

from topclip.config import S3_URL, Settings
from topclip.storage.base import ArtifactStore
from topclip.storage.local import LocalStore


def store_for(settings: Settings, *, for_requests: bool = False, is_made: bool = True) -> ArtifactStore:
    """Open the store. Raises: StorageError.

    is_made: whether a folder is made if it is missing; else it answers as one that is away.
    for_requests: somebody waits for the answer, who would rather hear soon that the store is away.
    """
    if found := re.fullmatch(S3_URL, settings.store):
        from topclip.storage.bucket import LONG, SHORT, Place  # noqa: PLC0415  costs memory that a folder does not need
        from topclip.storage.s3 import S3Store  # noqa: PLC0415

        place = Place(
            bucket=found["bucket"],
            prefix=found["prefix"] or "",
            endpoint=settings.s3_endpoint,
            public_endpoint=settings.s3_public_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
        )
        return S3Store(place, settings.data_dir / "s3", settings.s3_cache_mb << 20, SHORT if for_requests else LONG)
    return LocalStore(settings.store_dir, is_made=is_made)

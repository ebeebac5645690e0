"""Which artifact store the settings name."""

from topclip.config import Settings
from topclip.errors import ConfigError
from topclip.storage.base import ArtifactStore
from topclip.storage.local import LocalStore


def store_for(settings: Settings) -> ArtifactStore:
    """Open the store; a folder is made if it is missing. Raises: ConfigError, StorageError."""
    if "://" in settings.store:
        scheme = settings.store.split("://")[0]
        raise ConfigError(
            f"TOPCLIP_STORE: {scheme}:// stores are not supported yet",
            {"field": "store", "hint": "name a folder that all workers share"},
        )
    return LocalStore(settings.store_dir)

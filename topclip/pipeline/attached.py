"""Files that came with a source."""

from pathlib import Path

from topclip.errors import SourceNotFound
from topclip.model.request import AttachedRef, MediaPath
from topclip.pipeline.context import StageContext
from topclip.text_files import MAX_BYTES


def attached_content(ref: AttachedRef, field: str, ctx: StageContext) -> bytes:
    """What is in the file, up to a byte more than is allowed. field: of the request. Raises: SourceNotFound, StorageError."""
    if not isinstance(ref, MediaPath):
        return ctx.store.get_bytes(ref.key)
    try:
        with Path(ref.path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as err:
        raise SourceNotFound(f"cannot read {ref.name}: {err.strerror}", {"field": field}) from err

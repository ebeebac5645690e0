"""Where a request's source lies."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from topclip.errors import ProbeError, SourceNotFound, StorageUnavailable
from topclip.model.request import ClipRequest, Upload, UrlSource
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext


@contextlib.contextmanager
def source_path(request: ClipRequest, ctx: StageContext, info: SourceInfo | None = None) -> Iterator[Path]:
    """The source as a local file.

    info: what probe found; a file that is not that any more is refused, or its clips would be of something else.
    Raises: SourceNotFound, ProbeError, StorageError; that too where any file goes away while the source is in use.
    """
    with _found(request, ctx, info) as path:
        try:
            yield path
        except SourceNotFound as err:
            if not isinstance(err.__cause__, FileNotFoundError):
                raise
            hint = {"hint": "Is its disk or share mounted?"}
            raise StorageUnavailable("a file has gone meanwhile", hint) from err


@contextlib.contextmanager
def _found(request: ClipRequest, ctx: StageContext, info: SourceInfo | None) -> Iterator[Path]:
    source = request.source
    if isinstance(source, Upload | UrlSource):
        with ctx.store.local_path(source.key, lambda: ctx.report(0.0, 1.0)) as path:
            yield path
        return
    path = Path(source.path)
    if not path.is_file():
        raise SourceNotFound(f"no such file: {source.name}", {"field": "source", "hint": "was it moved or deleted?"})
    if info is not None and path.stat().st_size != info.size_bytes:
        raise ProbeError(f"{source.name} changed while the job ran", {"field": "source", "hint": "submit it again"})
    yield path

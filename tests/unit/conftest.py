"""What unit tests share: media made once, a context with a store of its own, an independent decoder."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.media import Media, ffmpeg
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.pipeline.context import StageContext
from topclip.storage.local import LocalStore

MakeRequest = Callable[..., ClipRequest]


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    return Media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def ctx(tmp_path: Path) -> StageContext:
    return make_context(tmp_path / "store")


def make_context(folder: Path, **changes: object) -> StageContext:
    values = {"ffmpeg": ffmpeg(), "max_duration_s": 3600.0, "max_pixels": 10_000_000, "threads": 2}
    return StageContext(job_id=str(uuid.uuid4()), store=LocalStore(folder), **{**values, **changes})  # type: ignore[arg-type]


def request_for(path: Path, **options: object) -> ClipRequest:
    return ClipRequest(source=MediaPath(path=str(path), name=path.name), options=ClipOptions.model_validate(options))

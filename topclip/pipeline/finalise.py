"""Stage finalise: the manifest of what was made."""

from collections.abc import Sequence
from dataclasses import dataclass

from topclip.model.clip import RenderResult
from topclip.model.manifest import Manifest
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext


@dataclass(frozen=True)
class FinalResult:
    """The manifest and where it lies."""

    manifest_key: str
    manifest: Manifest


def finalise(
    request: ClipRequest, info: SourceInfo, plan_key: str, results: Sequence[RenderResult], ctx: StageContext
) -> FinalResult:
    """Write the manifest. Raises: the first clip's failure if every clip failed."""
    raise NotImplementedError

"""Stage select: load what analysis left, merge it, choose, keep the plan."""

from dataclasses import dataclass

from topclip.model.clip import ClipSpec
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext


@dataclass(frozen=True)
class PlanResult:
    """Where the plan lies, and the clips to be made (none in mode `plan`)."""

    plan_key: str
    specs: tuple[ClipSpec, ...]


def make_plan(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> PlanResult:
    """Choose the clips of a job. Raises: NoHighlights."""
    raise NotImplementedError

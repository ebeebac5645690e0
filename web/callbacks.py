"""GET /api/jobs/<id>/callbacks: who was told of a job's end, and what came of each try."""

from topclip.model.base import JsonDict
from topclip.model.callback import CallbackLog
from web.openapi import JOBS, Api, answers
from web.schemas import JobPath
from web.services import services
from web.status import known_shape

blueprint = Api("callbacks", __name__, abp_tags=[JOBS])


@blueprint.get("/api/jobs/<job_id>/callbacks", answers=answers({200: CallbackLog}, 404, 410, 503))
def show(path: JobPath) -> JsonDict:
    """Read the log of a job's callbacks."""
    return services().client.callbacks(known_shape(path.job_id)).to_dict()

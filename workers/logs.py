"""How processes log: one line a record, to standard error, as text or as JSON that names job and task."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Final

from celery import signals
from celery._state import get_current_task
from celery.utils.log import get_multiprocessing_logger

from topclip.config import Settings
from topclip.model.base import JsonDict
from workers import names
from workers.backend import header_of

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
OF_A_PART: Final = ("job", "epoch", "part")
ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def configure(settings: Settings) -> None:
    """Set the root logger up, once a process."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    signals.after_setup_logger.connect(_take_over)


def _take_over(**_: Any) -> None:
    """What is said of a worker's processes goes our way, too: Celery has given its logger a handler that knows no JSON."""
    logger = get_multiprocessing_logger()
    logger.handlers.clear()
    logger.propagate = True


class JsonLines(logging.Formatter):
    """A JSON object a line: time, level, logger, process, message, where they are known job, task, task_name, part and epoch,
    and error, a traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        message = record.getMessage()
        line: JsonDict = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": message,
            **_ids(record, message),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _ids(record: logging.LogRecord, message: str) -> JsonDict:
    """What the line is about: what it says itself, else the task that runs, else a job that the message names."""
    ids: JsonDict = {}
    told: Any = getattr(record, "data", None)  # of Celery's own lines about a task
    task = get_current_task()
    if isinstance(told, dict) and told.get("id"):
        ids = {"task": told["id"], "task_name": told.get("name")}
    elif task is not None and task.request.id:
        ids = {"task": task.request.id, "task_name": task.name}
        if header := header_of(task.request):
            ids |= {key: header[key] for key in OF_A_PART}
    ids |= {key: value for key in OF_A_PART if (value := getattr(record, key, None)) is not None}
    if "job" not in ids and (job := _first_id(str(ids.get("task", ""))) or _first_id(message)):
        ids["job"] = job
    if ids.get("task_name"):
        ids["task_name"] = names.short(ids["task_name"])
    return ids


def _first_id(text: str) -> str | None:
    found = ID.search(text)
    return found[0] if found else None

"""What can be wrong with an installation, each check with what to do about it. Changes nothing but probes of its own."""

from collections.abc import Mapping
from typing import Any

from stack.doctor_machine import check_machine
from stack.doctor_redis import check_redis
from stack.findings import Check, Diagnosis
from stack.redis_server import RedisServer
from topclip.config import Settings
from topclip.errors import ConfigError
from web.keys import given_keys


def examine(environ: Mapping[str, str] | None = None, **over: Any) -> Diagnosis:
    """Run every check. over: settings that the command line gives."""
    try:
        settings = Settings.from_env(environ, **over)
        given_keys(settings)
    except ConfigError as err:
        faults = err.detail.get("faults", [err.message])
        checks = tuple(Check("settings", "fail", str(f), "see docs/configuration.md") for f in faults)
        return Diagnosis(checks, has_redis=True)
    embedded = None if "redis_url" in settings.model_fields_set else RedisServer.known(settings.data_dir)
    if embedded:  # without a REDIS_URL the server of a `topclip up` on this data folder is meant, if one ran
        settings = settings.model_copy(update={"redis_url": embedded.url})
    local = (Check("settings", "ok", "all settings are valid"), *check_machine(settings))
    found = check_redis(settings, is_embedded=embedded is not None)
    return Diagnosis((*local, *found.checks), has_redis=found.has_redis)

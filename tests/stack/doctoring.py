"""Asking `topclip doctor`."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from stack.doctor import examine
from stack.findings import Check
from tests.nodes import RedisContainer
from tests.stack.running import TOPCLIP

Started = Callable[..., RedisContainer]


def found(url: str, tmp_path: Path, **env: str) -> dict[str, Check]:
    """The checks by name; of several of one name the worst."""
    environ = {"REDIS_URL": url, "TOPCLIP_DATA_DIR": str(tmp_path / "data"), **env}
    order = ["ok", "warn", "fail"]
    checks: dict[str, Check] = {}
    for check in examine(environ).checks:
        if check.name not in checks or order.index(check.grade) > order.index(checks[check.name].grade):
            checks[check.name] = check
    assert all(check.advice for check in checks.values() if check.grade != "ok")
    return checks


def told(check: Check) -> str:
    """All that is said where something is not ok."""
    assert check.grade != "ok"
    return f"{check.grade}: {check.message}: {check.advice}"


def command(*before: str, env: dict[str, str], cwd: Path) -> dict[str, Check]:
    """The checks of the command itself, started by other programs."""
    argv = [*before, TOPCLIP, "doctor", "--json"]
    result = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env={**os.environ, **env}
    )
    assert result.stdout, result.stderr
    checks: dict[str, Check] = {}
    for check in (Check(**one) for one in json.loads(result.stdout)):
        if check.grade != "ok":
            checks.setdefault(check.name, check)
    return checks

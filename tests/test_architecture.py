"""The rules that keep the tree readable: one-way imports, small files, one order of the stages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from topclip import pipeline
from topclip.model.job import Stage

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("topclip", "workers", "web", "cli", "stack", "demo", "tests", "bench")
MOST_LINES = 400
PROCESSES = {
    "web": (
        "web.app",
        ("topclip.media", "topclip.analysers", "topclip.pipeline", "workers.tasks", "workers.app", "av"),
    ),
    "command": ("cli.remote", ("topclip.media", "topclip.pipeline", "celery", "redis", "av", "numpy", "flask")),
    "shots": ("cli.shots", ("httpx", "fontTools", "topclip.pipeline.render", "topclip.outbound.http")),
    "cut": ("cli.cut", ("httpx", "fontTools", "rich", "topclip.run_local", "topclip.outbound.http")),
}


def test_imports_run_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("process", PROCESSES)
def test_a_light_process_loads_nothing_heavy(process: str) -> None:
    module, heavy = PROCESSES[process]
    code = f"import sys, {module}; print(*[m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_no_file_is_long() -> None:
    sizes = {path: path.read_text().count("\n") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert sizes
    assert [f"{path}: {n}" for path, n in sizes.items() if n > MOST_LINES] == []


def test_the_stages_have_one_order() -> None:
    told = re.findall(r"[a-z]+", (pipeline.__doc__ or "").partition(":")[2])
    stages = [stage.value for stage in Stage]
    assert [word for word in told if word in stages] == stages


def test_only_one_module_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for folder in ("topclip", "workers", "web", "cli", "stack")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    ]
    assert readers == ["topclip/config.py"]


def test_foreign_faults_are_caught_wholesale_in_two_places_at_most() -> None:
    broad = [
        str(path.relative_to(ROOT))
        for folder in ("topclip", "workers", "web", "cli", "stack")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"except (Base)?Exception\b|except:", path.read_text())
    ]
    assert set(broad) <= {"workers/base.py", "web/errors.py"}

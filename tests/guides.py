"""The commands and files that the guides show, taken out of them, so that tests run what people read."""

import os
import re
import subprocess
from pathlib import Path

from tests.nodes import ROOT

BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^>]*) -->\n)?^```(?P<kind>sh|powershell|conf)\n(?P<text>.*?)^```", re.M | re.S)
RUN = re.compile(r"run: ([\w.-]+)$")
GUIDES = tuple(ROOT / "docs" / name for name in ("redis.md", "operations.md", "scaling.md", "deploy.md"))

SHELL = ("bash", "-euo", "pipefail", "-c")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Mark (may be empty), kind and text of each block of commands or of a configuration file."""
    return [(found["mark"] or "", found["kind"], found["text"]) for found in BLOCK.finditer(page.read_text())]


def shown(name: str) -> str:
    """The block that is marked `<!-- run: name -->`."""
    (text,) = [text for page in GUIDES for mark, _, text in blocks(page) if mark == f"run: {name}"]
    return text


def adapted(name: str, instead: dict[str, str]) -> str:
    """The block with values of ours in place of the guide's own."""
    text = shown(name)
    for old, new in instead.items():
        assert old in text, f"{old!r} is not in the block {name}"
        text = text.replace(old, new)
    return text


def run_shown(name: str, *, cwd: Path | None = None, instead: dict[str, str] | None = None, **env: str) -> str:
    """Run a block by a shell that stops at the first fault; what it printed. instead: values in place of the guide's own."""
    return run_text(adapted(name, instead or {}), name, cwd=cwd, **env)


def run_text(text: str, name: str = "commands", *, cwd: Path | None = None, **env: str) -> str:
    """Run lines of a block."""
    result = subprocess.run(
        [*SHELL, text],
        cwd=cwd or ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"{name}: {result.stdout}{result.stderr}"
    return result.stdout

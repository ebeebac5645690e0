"""Which ffmpeg is found."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from topclip.errors import ConfigError
from topclip.media import binary


def test_the_one_that_comes_with_us_is_found_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: Any, **_: Any) -> None:
        raise AssertionError(f"{args} was run")

    monkeypatch.setattr(subprocess, "Popen", run)
    binary._bundled.cache_clear()
    assert os.access(binary.find_ffmpeg(""), os.X_OK)


def test_one_that_is_named_is_taken_or_missed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert binary.find_ffmpeg(str(mine)) == str(mine)
    with pytest.raises(ConfigError, match="TOPCLIP_FFMPEG: no program"):
        binary.find_ffmpeg(str(tmp_path / "none"))

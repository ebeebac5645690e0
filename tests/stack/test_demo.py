"""The demo, as `make demo ARGS=--once` runs it."""

import json
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_demo_ends_with_clips_on_disk_and_leaves_nothing_running(tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "demo" / "run.py"), "--once", "--data-dir", str(tmp_path)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=170, check=False)
    assert result.returncode == 0, result.stderr
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    assert 1 <= len(manifest["clips"]) <= 4
    for clip in manifest["clips"]:
        path = tmp_path / "made" / clip["file"]
        assert path.stat().st_size == clip["size_bytes"]
        assert str(path) in result.stderr
        assert (clip["width"], clip["height"]) == (clip["width"], round(clip["width"] * 16 / 9 / 2) * 2)
    assert [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])] == []

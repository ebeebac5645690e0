"""The whole stack with its store in a bucket."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nodes import ROOT
from tests.s3 import SECRET, S3Container
from tests.stack.running import TOPCLIP, stack
from topclip.config import variable

pytestmark = pytest.mark.faults
OPTIONS = ("--count", "2", "--min-length", "2", "--max-length", "4", "--quality", "draft")


@pytest.fixture
def place(s3: S3Container, tmp_path: Path) -> Path:
    """A folder whose `.env` says that the store is in the bucket, and that clients reach it."""
    values = s3.settings | {"s3_public_endpoint": s3.endpoint}
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / ".env").write_text("".join(f"{variable(name)}={value}\n" for name, value in values.items()))
    return folder


def topclip(place: Path, *args: object) -> subprocess.CompletedProcess[str]:
    argv = [TOPCLIP, *(str(arg) for arg in args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd=place)


def store_check(place: Path, *args: object) -> dict[str, Any]:
    checks = json.loads(topclip(place, "doctor", "--json", *args).stdout)
    return next(check for check in checks if check["name"] == "store")


def test_a_video_goes_in_and_its_clips_come_out_of_the_bucket(place: Path, tmp_path: Path) -> None:
    with stack(place / "data", "--no-flower") as running:
        url, out = running.urls["web"], tmp_path / "out"
        result = topclip(place, "submit", ROOT / "demo/footage.mp4", *OPTIONS, "--out", out, "--url", url)
        assert result.returncode == 0, result.stderr
        made = json.loads((out / "manifest.json").read_text())
        assert [(out / clip["file"]).stat().st_size for clip in made["clips"]] == [
            c["size_bytes"] for c in made["clips"]
        ]
        job = httpx.get(f"{url}/api/jobs").json()["jobs"][0]["id"]
        assert httpx.get(f"{url}/api/jobs/{job}/clips/1").status_code == 307
        assert not (place / "data/store").exists()
        assert store_check(place)["grade"] == "ok"


def test_the_doctor_says_what_is_wrong_with_a_bucket(place: Path, s3: S3Container) -> None:
    env = (place / ".env").read_text()
    (place / ".env").write_text(env.replace(SECRET, "wrong"))
    assert "TOPCLIP_S3_SECRET_KEY" in store_check(place)["advice"]
    (place / ".env").write_text(env.replace("s3://clips/", "s3://others/"))
    assert "TOPCLIP_STORE" in store_check(place)["advice"]
    (place / ".env").write_text(env)
    s3.kill()
    assert store_check(place)["grade"] == "fail"

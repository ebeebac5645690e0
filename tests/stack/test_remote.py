"""The commands that talk to a server, over a real stack, from a shell's point of view."""

import hashlib
import itertools
import json
import socket
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from tests.stack.running import TOPCLIP, Running, stack
from topclip.media.binary import find_ffmpeg

OPTIONS = ("--count", "2", "--min-length", "2", "--max-length", "4", "--quality", "draft")
NOBODY = "http://127.0.0.1:9"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with stack(tmp_path_factory.mktemp("remote") / "data", "--no-flower") as up:
        yield up


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s in three colours, a tone that is loud in the middle."""
    path = tmp_path_factory.mktemp("media") / "video.mp4"
    picture = "testsrc2=s=320x180:r=25:d=12,hue=h='90*floor(t/4)'"
    sound = "sine=f=440:d=12,volume='if(between(t,4,8),1,0.1)':eval=frame"
    command = [find_ffmpeg(""), "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    subprocess.run([*command, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(path)], check=True)
    return path


def topclip(*args: object, server: Running | None = None) -> subprocess.CompletedProcess[str]:
    url = ("--url", server.urls["web"]) if server else ()
    argv = [TOPCLIP, *(str(a) for a in args), *url]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def job(running: Running, video: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A job that was submitted, followed and fetched: its status documents and its folder."""
    out = tmp_path_factory.mktemp("out") / "made"
    result = topclip("submit", video, *OPTIONS, "--watch", "--json", "--out", out, server=running)
    assert result.returncode == 0, result.stderr
    return {"documents": [json.loads(line) for line in result.stdout.splitlines()], "out": out}


def job_id(job: dict[str, Any]) -> str:
    found: str = job["documents"][-1]["id"]
    return found


def test_watching_prints_a_document_for_each_change(job: dict[str, Any]) -> None:
    documents = job["documents"]
    assert documents[-1]["state"] == "SUCCEEDED"
    assert len({d["id"] for d in documents}) == 1
    shown = [{k: v for k, v in d.items() if k not in ("as_of", "source", "eta_s")} for d in documents]
    assert all(a != b for a, b in itertools.pairwise(shown))


def test_the_clips_come_whole_with_their_manifest(job: dict[str, Any]) -> None:
    manifest = json.loads((job["out"] / "manifest.json").read_text())
    assert manifest["clips"]
    for clip in manifest["clips"]:
        assert hashlib.sha256((job["out"] / clip["file"]).read_bytes()).hexdigest() == clip["sha256"]
        assert (job["out"] / clip["thumbnail"]).stat().st_size > 0
    assert [path for path in job["out"].rglob("*") if ".part" in path.name] == []


def test_status_and_clips_and_jobs_know_it(running: Running, job: dict[str, Any]) -> None:
    assert json.loads(topclip("status", job_id(job), "--json", server=running).stdout)["state"] == "SUCCEEDED"
    assert topclip("status", job_id(job), server=running).stdout.startswith("succeeded, 100%")
    manifest = json.loads((job["out"] / "manifest.json").read_text())
    assert len(topclip("clips", job_id(job), server=running).stdout.splitlines()) == len(manifest["clips"])
    assert json.loads(topclip("clips", job_id(job), "--json", server=running).stdout) == manifest
    assert job_id(job) in topclip("jobs", server=running).stdout


def test_a_finished_job_cannot_be_cancelled(running: Running, job: dict[str, Any]) -> None:
    result = topclip("cancel", job_id(job), server=running)
    assert result.returncode == 1
    assert result.stderr.startswith("topclip: ")


def test_without_watch_it_prints_the_id_alone_and_the_job_can_be_cancelled(running: Running, video: Path) -> None:
    worker = running.find(" worker ")
    worker.suspend()  # so that the job stays where it is
    try:
        result = topclip("submit", video, *OPTIONS, server=running)
        assert result.returncode == 0
        new = result.stdout.strip()
        assert topclip("status", new, server=running).returncode == 0
        cancelled = topclip("cancel", new, server=running)
    finally:
        worker.resume()
    assert (cancelled.returncode, cancelled.stdout) == (0, "cancelled\n"), cancelled.stderr
    for args in (["status", new], ["status", new, "--json"], ["status", new, "--watch"], ["clips", new]):
        assert topclip(*args, server=running).returncode == 1, args
    assert topclip("jobs", server=running).returncode == 0
    assert topclip("delete", new, server=running).returncode == 0
    gone = topclip("status", new, server=running)
    assert gone.returncode == 1
    assert gone.stdout == ""


def test_a_cancelled_job_is_retried_to_its_end(running: Running, video: Path, tmp_path: Path) -> None:
    worker = running.find(" worker ")
    worker.suspend()
    try:
        new = topclip("submit", video, *OPTIONS, server=running).stdout.strip()
        assert topclip("cancel", new, server=running).stdout == "cancelled\n"
        again = topclip("retry", new, server=running)
        assert (again.returncode, again.stdout) == (0, "queued\n"), again.stderr
        assert topclip("retry", new, server=running).returncode == 1
        assert topclip("cancel", new, server=running).returncode == 0
    finally:
        worker.resume()
    result = topclip("retry", new, "--out", tmp_path / "made", "--json", server=running)
    assert result.returncode == 0, result.stderr
    assert {json.loads(line)["epoch"] for line in result.stdout.splitlines()} == {3}
    assert (tmp_path / "made/manifest.json").exists()
    nothing = topclip("retry", new, server=running)
    assert nothing.returncode == 1
    assert "nothing to retry" in nothing.stderr


def test_a_finished_job_is_planned_again_recut_and_exported(running: Running, video: Path, tmp_path: Path) -> None:
    made = topclip("submit", video, *OPTIONS, "--watch", "--json", server=running)
    new = json.loads(made.stdout.splitlines()[-1])["id"]
    out = tmp_path / "made"
    result = topclip("replan", new, "--count", "1", "--weight", "motion=0", "--out", out, server=running)
    assert result.returncode == 0, result.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert (len(manifest["clips"]), manifest["options"]["weights"]["motion"]) == (1, 0)
    assert manifest["options"]["weights"]["crowd"] > 0
    result = topclip("recut", new, 1, "--start", "0:01", "--end", "7.5", "--watch", "--out", out, server=running)
    assert result.returncode == 0, result.stderr
    (clip,) = json.loads((out / "manifest.json").read_text())["clips"]
    assert (clip["start_s"], clip["end_s"]) == (1, 7.52)
    assert topclip("export", new, "--format", "edl", "--out", tmp_path / "c.edl", server=running).returncode == 0
    assert "00:00:01:00 00:00:07:13 01:00:00:00 01:00:06:13" in (tmp_path / "c.edl").read_text()
    frames = tmp_path / "framing.json"
    frames.write_text(json.dumps({"keyframes": [{"time_s": 1.0, "x": 0.25, "y": 0.5}]}))
    whole = topclip("recut", new, 1, "--framing", frames, server=running)
    assert (whole.returncode, "show all of its picture" in whole.stderr) == (2, True)
    assert topclip("replan", new, "--aspect", "9:16", "--watch", server=running).returncode == 0
    result = topclip("recut", new, 1, "--framing", frames, "--watch", "--out", out, server=running)
    assert result.returncode == 0, result.stderr
    (clip,) = json.loads((out / "manifest.json").read_text())["clips"]
    assert (clip["start_s"], clip["end_s"], clip["width"]) == (1, 7.52, 100)
    (framing,) = (h["framing"] for h in running.get(f"/api/jobs/{new}/plan").json()["highlights"])
    assert (framing["method"], framing["keyframes"][0]["x"]) == ("asked", 0.25)
    late = topclip("recut", new, 1, "--end", "99", server=running)
    assert (late.returncode, "end_s 99" in late.stderr) == (2, True)


def test_the_same_key_is_the_same_job_and_another_body_is_refused(running: Running, video: Path) -> None:
    once, twice = (
        topclip("submit", video, *OPTIONS, "--idempotency-key", "k", server=running).stdout.strip() for _ in range(2)
    )
    assert once == twice != ""
    other = topclip("submit", video, "--count", "1", "--idempotency-key", "k", server=running)
    assert (other.returncode, other.stdout) == (2, "")
    assert "Idempotency-Key" in other.stderr


class BreaksOff(BaseHTTPRequestHandler):
    """A server that is killed in the middle of the first submission, and takes the second."""

    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.keys.append(self.headers["Idempotency-Key"])
        if len(self.keys) == 1:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"id": UNKNOWN, "status_url": "/"}).encode()
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_submission_that_breaks_off_is_sent_again_under_the_same_key(video: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        result = topclip("submit", video, "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert (result.returncode, result.stdout) == (0, UNKNOWN + "\n"), result.stderr
    assert len(BreaksOff.keys) == 2
    assert len(set(BreaksOff.keys)) == 1
    assert BreaksOff.keys[0]


def test_what_is_not_media_is_refused_with_the_reason(running: Running, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"this is no video " * 1000)
    result = topclip("submit", fake, "--watch", server=running)
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) >= 1


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("status", UNKNOWN), 1),
        (("status", "no-id"), 1),
        (("submit", "/nonexistent.mp4"), 2),
        (("submit", "/tmp"), 2),
        (("submit", "http://127.0.0.1/a.mp4"), 2),
        (("submit", "https://example.com/a.mp4", "--callback-url", "https://example.com/hook"), 2),
        (("submit", "x.mp4", "--aspect", "7:3"), 2),
        (("submit", "x.mp4", "--min-length", "9", "--max-length", "3"), 2),
        (("nonsense",), 2),
    ],
)
def test_a_refusal_has_its_exit_code_and_a_message(running: Running, args: tuple[str, ...], code: int) -> None:
    result = topclip(*args, server=running if args[0] != "nonsense" else None)
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    assert result.stderr


def test_a_file_that_is_nowhere_is_said_to_be_missing_here_too(running: Running) -> None:
    result = topclip("submit", "/nonexistent.mp4", server=running)
    assert result.returncode == 2
    assert "no file /nonexistent.mp4 here, and the server says: " in result.stderr
    url = topclip("submit", "http://127.0.0.1/a.mp4", server=running)
    assert "no file" not in url.stderr


def test_a_server_that_is_not_there_is_exit_code_4() -> None:
    result = topclip("jobs", "--url", NOBODY)
    assert result.returncode == 4
    assert NOBODY in result.stderr
    assert "topclip up" in result.stderr


def test_help_names_every_command_and_loads_none() -> None:
    result = topclip("--help")
    assert result.returncode == 0
    assert "  doctor  " in result.stdout


def checks(*args: object) -> tuple[int, dict[str, str]]:
    result = topclip("doctor", "--json", *args)
    return result.returncode, {check["name"]: check["grade"] for check in json.loads(result.stdout)}


def test_the_doctor_finds_a_running_stack_well(running: Running) -> None:
    code, grades = checks("--redis-url", running.urls["redis"])
    assert code == 0
    assert {name for name, grade in grades.items() if grade == "ok"} >= {"redis", "persistence", "ffmpeg", "workers"}


def test_the_doctor_says_when_redis_is_out_of_reach(tmp_path: Path) -> None:
    code, grades = checks("--data-dir", tmp_path, "--redis-url", "redis://127.0.0.1:9/0")
    assert code == 4
    assert grades["redis"] == "fail"
    assert grades["ffmpeg"] == "ok"
    assert list(tmp_path.iterdir()) == []

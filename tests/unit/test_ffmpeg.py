import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.media import ffmpeg
from topclip.errors import ConfigError, EncodeError, JobCancelled, StorageFull, StorageUnavailable
from topclip.media.ffmpeg import Progress, run_ffmpeg

ENDLESS = ("-re", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=25", "-f", "null", "-")


def children() -> set[int]:
    return {p.pid for p in psutil.Process().children(recursive=True)}


def test_it_reports_progress_in_seconds(tmp_path: Path) -> None:
    seen: list[float] = []
    run_ffmpeg(ffmpeg(), ["-f", "lavfi", "-i", "testsrc2=s=64x64:d=3", str(tmp_path / "a.mp4")], seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(3, abs=0.2)


def test_a_full_disk_is_told_by_name() -> None:
    with pytest.raises(StorageFull) as caught:
        run_ffmpeg(ffmpeg(), ["-f", "lavfi", "-i", "testsrc2=s=64x64:d=3", "-f", "mpegts", "/dev/full"], lambda _: None)
    assert caught.value.hint


def test_it_says_why_ffmpeg_failed(tmp_path: Path) -> None:
    with pytest.raises(EncodeError) as caught:
        run_ffmpeg(ffmpeg(), ["-f", "lavfi", "-i", "no_such_thing", str(tmp_path / "a.mp4")], lambda _: None)
    assert "no_such_thing" in caught.value.message
    assert caught.value.detail["exit_code"] != 0
    assert "no_such_thing" in caught.value.detail["stderr_tail"]


@pytest.mark.parametrize("gone", ["in", "out"])
def test_what_went_away_meanwhile_is_the_stores_fault(tmp_path: Path, gone: str) -> None:
    """As a share does for seconds: it will be tried again."""
    files = {"in": tmp_path / "in.wav", "out": tmp_path / "out.wav"}
    run_ffmpeg(ffmpeg(), ["-f", "lavfi", "-i", "sine=d=1", str(files["in"])], lambda _: None)
    files[gone] = tmp_path / "gone" / "file.wav"
    with pytest.raises(StorageUnavailable) as caught:
        run_ffmpeg(ffmpeg(), ["-i", f"file:{files['in']}", f"file:{files['out']}"], lambda _: None)
    assert caught.value.retryable


def test_it_kills_ffmpeg_when_the_job_is_cancelled() -> None:
    before = children()
    started: list[int] = []

    def cancel(done_s: float) -> None:
        started.extend(children() - before)
        if done_s > 0.2:
            raise JobCancelled("cancelled")

    with pytest.raises(JobCancelled):
        run_ffmpeg(ffmpeg(), ENDLESS, cancel)
    assert started
    assert children() == before


def test_it_ends_an_ffmpeg_that_stands_still(tmp_path: Path) -> None:
    fifo = tmp_path / "nothing"
    os.mkfifo(fifo)
    keep_open = os.open(fifo, os.O_RDWR)
    try:
        with pytest.raises(EncodeError, match="no progress"):
            run_ffmpeg(
                ffmpeg(),
                ["-f", "rawvideo", "-s", "64x64", "-i", str(fifo), "-f", "null", "-"],
                lambda _: None,
                stall_s=1,
            )
    finally:
        os.close(keep_open)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux")
def test_ffmpeg_dies_with_its_worker() -> None:
    code = (
        "import sys; from topclip.media.ffmpeg import run_ffmpeg\n"
        "run_ffmpeg(sys.argv[1], sys.argv[2:], lambda s: print(s, flush=True) if s else None)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, ffmpeg(), *ENDLESS], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.readline()  # it runs
    child = psutil.Process(worker.pid).children()[0]
    worker.kill()
    worker.wait()
    worker.stdout.close()
    deadline = time.monotonic() + 5
    with contextlib.suppress(psutil.NoSuchProcess):
        while child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "ffmpeg outlived its worker"
            time.sleep(0.02)


def test_a_missing_binary_is_a_settings_error() -> None:
    with pytest.raises(ConfigError):
        run_ffmpeg("/nowhere/ffmpeg", [], lambda _: None)


def test_progress_lines_may_come_in_pieces() -> None:
    progress = Progress()
    assert not progress.feed(b"out_time_us=1500")
    assert progress.feed(b"000\nframe=3\n")
    assert progress.out_s == 1.5
    assert not progress.feed(b"out_time_us=1500000\nframe=3\n")
    assert not progress.feed(b"out_time_us=N/A\n") or progress.out_s == 1.5

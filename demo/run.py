"""The demo behind `make demo`: the whole stack on free ports, a real video through it, and where everything is.

Runs `topclip` as a user would and knows nothing of its insides. Everything lands in var/demo of the checkout. With
`--once` it stops the stack after the job and exits with the job's exit code; else it goes on serving until Ctrl-C.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
TOPCLIP = str(Path(sys.executable).with_name("topclip"))
TETHER = str(ROOT / "stack" / "tether.py")  # the stack ends with the demo, however that ends
FOOTAGE = ROOT / "demo" / "footage.mp4"
OPTIONS = ("--count", "4", "--min-length", "6", "--max-length", "15", "--aspect", "9:16")
TAIL_LINES = 25
INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Run the demo; its exit code."""
    parser = argparse.ArgumentParser(description="TopClip on a real video.")
    parser.add_argument("--once", action="store_true", help="end after the job, with its exit code")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "demo", help="where everything lands")
    wanted = parser.parse_args(argv)
    data: Path = wanted.data_dir.absolute()
    signal.signal(signal.SIGTERM, _interrupt)
    data.mkdir(parents=True, exist_ok=True)
    log = data / "up.log"
    say(f"starting Redis, a worker, Flower and the web server (their log: {log})")
    with log.open("w") as stderr:
        stack = start(data, stderr)
        try:
            return show(stack, data, log, is_once=wanted.once)
        except KeyboardInterrupt:
            return INTERRUPTED if wanted.once else 0
        finally:
            stop(stack)


def start(data: Path, stderr: IO[str]) -> subprocess.Popen[str]:
    """Start the stack, out of reach of the terminal's Ctrl-C: the demo stops it in order."""
    command = [TOPCLIP, "up", "--json", "--port", "0", "--flower-port", "0", "--data-dir", str(data)]
    return subprocess.Popen(
        [sys.executable, TETHER, str(os.getpid()), *command],
        stdout=subprocess.PIPE,
        stderr=stderr,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def show(stack: subprocess.Popen[str], data: Path, log: Path, *, is_once: bool) -> int:
    """Submit the footage, print where everything is, and keep serving unless told otherwise; the job's exit code."""
    assert stack.stdout is not None
    line = stack.stdout.readline()
    if not line:
        sys.stderr.write("".join(log.read_text().splitlines(keepends=True)[-TAIL_LINES:]))
        say("the stack did not start")
        return stack.wait() or 1
    urls = json.loads(line)
    clips = data / "made"
    say(f"page    {urls['web']}\nFlower  {urls['flower']}\n\nsubmitting {FOOTAGE.relative_to(ROOT)}")
    submit = [TOPCLIP, "submit", str(FOOTAGE), "--url", urls["web"], "--watch", "--out", str(clips), *OPTIONS]
    code = subprocess.run(submit, check=False).returncode
    places = [f"manifest {clips / 'manifest.json'}", f"page     {urls['web']}", f"Flower   {urls['flower']}"]
    say("\n".join([*(f"clip     {path}" for path in made(clips)), *places]) if code in (0, 3) else "the job failed")
    if is_once:
        return code
    say("serving until Ctrl-C")
    stack.wait()
    return code


def made(clips: Path) -> list[Path]:
    """The clips that the manifest names."""
    manifest = json.loads((clips / "manifest.json").read_text())
    return [clips / clip["file"] for clip in manifest["clips"]]


def stop(stack: subprocess.Popen[str]) -> None:
    """Stop the stack in order; a second Ctrl-C does not break that off."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if stack.poll() is None:
        say("stopping")
        stack.terminate()
        stack.wait()


def say(text: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"\n{text}\n")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Keep a few child processes alive, in order, and let none outlive this one.

Every child leads its own session, so that Ctrl-C in a terminal reaches only the supervisor, which then stops the
children in order. A child that ends is started again after a pause that doubles with each early death. A child is tied
to this process (`stack.tether`), and what it leaves behind in its process group is killed with it.
All methods run in the main thread: the kernel ties a child to the thread that forked it. See
docs/adr/0006-own-supervisor.md.
"""

import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from stack.console import ChildLog, Console
from topclip.errors import ConfigError

TETHER = str(Path(__file__).with_name("tether.py"))
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
SETTLED_S = 30.0  # a child that lived that long starts again without delay
STARTUP_DEATHS = 4  # early deaths after which a start is given up
SILENT_STOP_S = 3.0  # for a child that does not answer as it is told to stop
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Program:
    """What to run, how to stop it and for how long to wait for that.

    argv is a function, asked anew at each start, so that a child can get another port.
    keep_fds are file descriptors that the child inherits under the same numbers.
    is_heard asks whether it answers: one that does not, as it is told to stop, is not waited for.
    """

    name: str
    argv: Callable[[], Sequence[str]]
    env: dict[str, str]
    stop_s: float = 10.0
    keep_fds: tuple[int, ...] = ()
    is_heard: Callable[[], bool] = lambda: True


@dataclass
class Child:
    """One supervised program and its present process, if any."""

    program: Program
    log: ChildLog
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = field(default=0)

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self.process.pid if self.process else None

    def start(self) -> None:
        """Start the process; its output goes to the log."""
        argv = [sys.executable, "-I", "-S", TETHER, str(os.getpid()), *self.program.argv()]
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.program.env,
            pass_fds=self.program.keep_fds,
            start_new_session=True,
        )
        self.started_at = time.monotonic()
        assert self.process.stdout is not None
        self.log.pump(self.process.stdout)

    def has_ended(self) -> bool:
        """Whether the process has ended by itself; if so, the rest of its group is killed and it is reaped."""
        if self.process is None:
            return False
        # WNOWAIT: while the leader is not reaped its id, which is the group's, cannot be anybody else's.
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._reap()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, not to its group: it stops its own children."""
        if self.process:
            # Not Popen.send_signal, which reaps a dead child behind our back. Until we reap it, its id is its own.
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End the process and its group at once."""
        if self.process:
            self._reap()

    def _reap(self) -> None:
        assert self.process is not None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it died before it led a group
        except PermissionError:
            pass  # macOS answers so for a group of zombies
        self.process.kill()
        self.process.wait()
        self.process = None


class StartupFailed(ConfigError):
    """A child ends again and again before it ever served."""

    code = "STARTUP_FAILED"


class Supervisor:
    """Starts children in the order they are added and stops them in the order of `stop_order`."""

    def __init__(self, console: Console, log_dir: Path, stop_order: Sequence[str]) -> None:
        self.children: dict[str, Child] = {}
        self.is_settled = False
        self._console, self._log_dir, self._stop_order = console, log_dir, stop_order
        self._read_fd, self._write_fd = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._stops = 0

    def __enter__(self) -> Self:
        for fd in (self._read_fd, self._write_fd):
            os.set_blocking(fd, False)
        self._selector.register(self._read_fd, selectors.EVENT_READ)
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        # The handlers do nothing: what counts is the byte that each signal writes into the pipe.
        self._old_handlers = {s: signal.signal(s, _noted) for s in (*STOP_SIGNALS, signal.SIGCHLD)}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._selector.close()
        os.close(self._read_fd)
        os.close(self._write_fd)

    @property
    def is_stopping(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stops > 0

    def add(self, program: Program) -> Child:
        """Start a program and keep it alive from now on."""
        child = Child(program, ChildLog(program.name, self._log_dir, self._console))
        self.children[program.name] = child
        child.start()
        return child

    def run_until(self, condition: Callable[[], bool], *, poll_s: float = 0.2) -> bool:
        """Supervise until the condition holds (True) or somebody asks for the end (False).

        Raises: StartupFailed if a child keeps ending before `is_settled` was set.
        """
        while not self.is_stopping:
            self._tend()
            if condition():
                return True
            self._wait(min(poll_s, self._next_start_s()))
        return False

    def stop(self) -> None:
        """Stop all children, one after the other; a second stop signal shortens the waiting."""
        self._is_stopping = True
        for name in self._stop_order:
            if child := self.children.get(name):
                self._stop_child(child)
                child.log.close()

    def _stop_child(self, child: Child) -> None:
        if not child.process or child.has_ended():
            return
        stop_s = child.program.stop_s if child.program.is_heard() else SILENT_STOP_S
        child.signal(signal.SIGTERM)
        started, stops = time.monotonic(), self._stops
        while child.process and not child.has_ended():
            patience_s = stop_s if self._stops == stops else 1.0
            if time.monotonic() - started > patience_s:
                self._console.say("up", f"{child.program.name} does not stop; killing it")
                child.kill()
            self._wait(0.1)

    def _tend(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.has_ended():
                self._mourn(child, now)
            if child.process is None and now >= child.start_at:
                self._start_again(child, now)

    def _next_start_s(self) -> float:
        """Seconds until a child is due to be started again; infinity if all run."""
        due = [child.start_at for child in self.children.values() if child.process is None]
        return max(0.0, min(due, default=math.inf) - time.monotonic())

    def _start_again(self, child: Child, now: float) -> None:
        try:
            child.start()
        except OSError as err:  # no memory or no process left: the pause grows, the others live on
            self._console.say("up", f"{child.program.name}: {err}")
            child.started_at = now
            self._mourn(child, now)

    def _mourn(self, child: Child, now: float) -> None:
        lived_s = now - child.started_at
        child.deaths = 1 if lived_s > SETTLED_S else child.deaths + 1
        if not self.is_settled and child.deaths >= STARTUP_DEATHS:
            tail = "\n".join(child.log.tail)
            raise StartupFailed(f"{child.program.name} does not start", {"hint": f"its last lines:\n{tail}"})
        pause_s = min(FIRST_PAUSE_S * 2 ** (child.deaths - 1), LONGEST_PAUSE_S)
        child.start_at = now + pause_s
        self._console.say("up", f"{child.program.name} ended after {lived_s:.1f} s; starting it again in {pause_s:g} s")

    def _wait(self, seconds: float) -> None:
        if self._selector.select(seconds):
            received = os.read(self._read_fd, 512)
            self._stops += sum(number in STOP_SIGNALS for number in received)


def _noted(number: int, frame: object) -> None:
    """Take a signal without doing anything."""

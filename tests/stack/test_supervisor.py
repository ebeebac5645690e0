"""The supervisor, over real processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack.console import Console
from stack.supervisor import Program, StartupFailed, Supervisor
from tests.waiting import until

SLEEPER = "import time; time.sleep(600)"


def python(name: str, code: str, **more: object) -> Program:
    argv = (sys.executable, "-c", code)
    return Program(name, lambda: argv, dict(os.environ), **more)  # type: ignore[arg-type]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(Console(), tmp_path / "logs", ("b", "a")) as running:
        yield running


def logged(tmp_path: Path, name: str) -> str:
    return (tmp_path / "logs" / f"{name}.log").read_text()


def test_it_starts_a_child_again_when_it_is_killed(supervisor: Supervisor) -> None:
    child = supervisor.add(python("a", SLEEPER))
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    assert supervisor.run_until(lambda: child.pid not in (None, first))


def test_a_dead_child_is_started_when_it_is_due_however_seldom_one_looks(supervisor: Supervisor) -> None:
    child = supervisor.add(python("a", SLEEPER))
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    began_s = time.monotonic()
    assert supervisor.run_until(lambda: child.pid not in (None, first), poll_s=30)
    assert time.monotonic() - began_s < 20, "it was started only at the next look"


def test_the_pause_grows_with_each_early_death(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor.is_settled = True
    child = supervisor.add(python("a", "import sys; sys.exit(1)"))
    supervisor.run_until(lambda: child.deaths == 3)
    said = capsys.readouterr().err
    assert [line.rpartition("again in ")[2] for line in said.splitlines()] == ["0.25 s", "0.5 s", "1 s"]


def test_it_gives_up_a_start_and_shows_the_last_lines(supervisor: Supervisor) -> None:
    supervisor.add(python("a", "import sys; sys.exit('no such setting')"))
    with pytest.raises(StartupFailed, match="a does not start") as caught:
        supervisor.run_until(lambda: False)
    assert "no such setting" in str(caught.value.hint)


def test_it_stops_the_children_in_order(tmp_path: Path) -> None:
    noted = tmp_path / "order"
    code = textwrap.dedent("""
        import signal, sys, time
        def end(*_):
            with open(sys.argv[1], "a") as f: f.write(sys.argv[2])
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("up", flush=True)
        time.sleep(600)
    """)
    with Supervisor(Console(), tmp_path / "logs", ("c", "a", "b")) as supervisor:
        for name in "abc":
            argv = (sys.executable, "-c", code, str(noted), name)
            supervisor.add(Program(name, lambda argv=argv: argv, dict(os.environ)))  # type: ignore[misc]
        supervisor.run_until(lambda: all("up" in logged(tmp_path, name) for name in "abc"))
    assert noted.read_text() == "cab"


@pytest.mark.parametrize("patience", [{"stop_s": 0.3}, {"stop_s": 1e6, "is_heard": lambda: False}])
def test_it_kills_a_child_that_does_not_stop(
    tmp_path: Path, patience: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.supervisor.SILENT_STOP_S", 0.3)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    with Supervisor(Console(), tmp_path / "logs", ("a",)) as supervisor:
        child = supervisor.add(python("a", deaf, **patience))
        supervisor.run_until(lambda: "up" in logged(tmp_path, "a"))
        pid = child.pid
        assert pid
    assert not psutil.pid_exists(pid)


def test_a_child_that_died_meanwhile_is_no_obstacle_to_the_stop(tmp_path: Path) -> None:
    with Supervisor(Console(), tmp_path / "logs", ("a", "b")) as supervisor:
        children = [supervisor.add(python(name, SLEEPER)) for name in "ab"]
        for child in children:
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)
            until(lambda pid=child.pid: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]
    assert [child.pid for child in children] == [None, None]


def test_what_a_dead_child_left_in_its_group_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '600']); print('up', flush=True); time.sleep(600)"
    child = supervisor.add(python("a", code))
    supervisor.run_until(lambda: "up" in logged(tmp_path, "a"))
    assert child.pid
    orphan = psutil.Process(child.pid).children()[0]
    os.kill(child.pid, signal.SIGKILL)
    supervisor.run_until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from stack.console import Console
        from stack.supervisor import Program, Supervisor
        argv = (sys.executable, "-c", {SLEEPER!r})
        with Supervisor(Console(), Path(sys.argv[1]), ("a", "b")) as supervisor:
            children = [supervisor.add(Program(n, lambda: argv, dict(os.environ))) for n in "ab"]
            print(*(c.pid for c in children), flush=True)
            supervisor.run_until(lambda: False)
    """)
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process:
        pids = [int(p) for p in process.stdout.readline().split()]
        assert len(pids) == 2
        until(lambda: all("tether" not in " ".join(psutil.Process(p).cmdline()) for p in pids))
        process.kill()
    until(lambda: not any(psutil.pid_exists(p) for p in pids))


def test_a_program_that_cannot_be_run_is_named(supervisor: Supervisor) -> None:
    supervisor.add(Program("a", lambda: ("/nonexistent/program",), dict(os.environ)))
    with pytest.raises(StartupFailed) as caught:
        supervisor.run_until(lambda: False)
    assert "/nonexistent/program: No such file" in str(caught.value.hint)


def test_a_childs_lines_reach_standard_error_and_its_file(
    supervisor: Supervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor.add(python("a", f"print('[OK] Redis connected', flush=True); {SLEEPER}"))
    supervisor.run_until(lambda: "[OK]" in logged(tmp_path, "a"))
    assert "a | [OK] Redis connected\n" in capsys.readouterr().err
    assert logged(tmp_path, "a") == "[OK] Redis connected\n"


def test_a_stop_signal_ends_the_supervision(supervisor: Supervisor) -> None:
    supervisor.add(python("a", SLEEPER))
    os.kill(os.getpid(), signal.SIGTERM)
    assert supervisor.run_until(lambda: False) is False
    assert supervisor.is_stopping

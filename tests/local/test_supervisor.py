"""The supervisor with a real broker and small stand-in programs for the services."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import control
from deploy.local.down import end_strays, stop_stack
from deploy.local.errors import StackError
from deploy.local.parts import STACK_VARIABLE, stack_marker
from deploy.local.processes import find_processes, is_running, wait_until
from deploy.local.state import REPOSITORY, StateDir, is_locked, read_json

# The service has a process of its own below it, as a web server has its workers. `stubborn` does
# not end when it is asked to.
_PROGRAM = """
import os, sys
from pathlib import Path
from deploy.local.broker import EmbeddedBroker
from deploy.local.parts import Service
from deploy.local.processes import Program
from deploy.local.state import StateDir, hold_lock
from deploy.local.supervisor import Supervisor

state = StateDir(Path(sys.argv[1]))
service = "import subprocess; subprocess.run(['sleep', '600'])"
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
def part(name, code, seconds=5.0, **more):
    program = Program((sys.executable, "-c", code), Path("/"), stop_seconds=seconds, **more)
    return Service(name, program)

with hold_lock(state.supervisor_lock):
    broker = EmbeddedBroker(state.path / "broker")
    broker.prepare()
    Supervisor(
        state,
        servers=[broker],
        services=[
            part("service", service),
            part("stubborn", stubborn, 0.3),
            part("failing", "raise SystemExit(3)"),
            part("hopeless", "raise SystemExit(3)", gives_up_with=3),
        ],
        environment=os.environ,
        details={"url": broker.url},
    ).run()
"""


def ignores_signal(pid: int, number: int) -> bool:
    """Whether a process has come so far that it ignores the signal (`SigIgn` of proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored, 16) & 1 << number - 1)


class Running:
    """A supervisor in a process of its own."""

    def __init__(self, state: StateDir) -> None:
        self.state = state
        self.marker = stack_marker(state)
        name, _, identity = self.marker.partition("=")
        assert name == STACK_VARIABLE
        with state.log("supervisor").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(state.path)],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), STACK_VARIABLE: identity},
                cwd="/",
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        assert wait_until(lambda: self.answers() and self.status("broker") == "ready", 10)

    def answers(self) -> bool:
        try:
            control.ask(self.state, "status")
        except StackError:
            return False
        return True

    def part(self, name: str) -> dict[str, Any]:
        parts = control.ask(self.state, "status")["parts"]
        return next(part for part in parts if part["name"] == name)

    def status(self, name: str) -> str:
        return str(self.part(name)["status"])

    def processes(self) -> list[int]:
        return find_processes(self.marker)


@pytest.fixture
def running(state: StateDir) -> Iterator[Running]:
    supervisor = Running(state)
    yield supervisor
    if supervisor.process.poll() is None:
        supervisor.process.kill()
    supervisor.process.wait()
    end_strays(state)


def test_services_wait_until_they_are_asked_for(running: Running) -> None:
    assert [running.status(name) for name in ("broker", "service")] == ["ready", "stopped"]
    control.ask(running.state, "start", "service")
    assert running.status("service") == "ready"
    document = read_json(running.state.state_file)
    assert document["parts"]["service"] == running.part("service")["pid"]
    assert running.state.state_file.stat().st_mode & 0o777 == 0o600


def test_a_killed_part_comes_back_and_leaves_nothing(running: Running) -> None:
    control.ask(running.state, "start", "service")
    assert wait_until(lambda: len(running.processes()) == 4, 5)
    for name in ("broker", "service"):
        before = running.part(name)
        below = [pid for pid in running.processes() if pid != running.process.pid]
        os.kill(before["pid"], signal.SIGKILL)
        assert wait_until(
            lambda name=name, before=before: (
                running.part(name)["pid"] not in (None, before["pid"])
                and running.status(name) == "ready"
            ),
            10,
        )
        assert running.part(name)["restarts"] == 1
        assert running.part(name)["error"] == ""
        if name == "service":  # its own child went with it
            old = set(below) - {running.part("broker")["pid"]}
            assert not any(is_running(pid) for pid in old)


def test_a_part_that_keeps_failing_is_tried_less_and_less_often(running: Running) -> None:
    control.ask(running.state, "start", "failing")
    assert wait_until(lambda: running.part("failing")["restarts"] >= 3, 5)
    part = running.part("failing")
    assert part["status"] in ("waiting", "ready")
    assert part["restarts"] < 10
    control.ask(running.state, "stop", "failing")
    assert running.status("failing") == "stopped"


def test_a_part_that_says_it_cannot_run_is_left_alone(running: Running) -> None:
    control.ask(running.state, "start", "hopeless")
    assert wait_until(lambda: running.status("hopeless") == "stopped", 5)
    part = running.part("hopeless")
    assert (part["restarts"], part["error"]) == (0, "cannot run here: see its log")
    control.ask(running.state, "start", "hopeless")
    assert wait_until(lambda: running.status("hopeless") == "stopped", 5), "it may be asked again"


def test_stop_start_restart_one_part(running: Running) -> None:
    control.ask(running.state, "start", "service")
    first = running.part("service")["pid"]
    control.ask(running.state, "restart", "service")
    second = running.part("service")["pid"]
    assert second != first
    control.ask(running.state, "stop", "service")
    assert running.status("service") == "stopped"
    assert not is_running(second)
    assert running.status("broker") == "ready"
    control.ask(running.state, "start", "service")
    assert running.status("service") == "ready"


def test_refuses_what_it_does_not_know(running: Running) -> None:
    with pytest.raises(StackError, match=r"no part 'nonsense'.*broker, service"):
        control.ask(running.state, "stop", "nonsense")
    with pytest.raises(StackError, match="no command"):
        control.ask(running.state, "explode", "service")


@pytest.mark.parametrize("ending", ["command", "signal"])
def test_ends_in_order_and_leaves_no_process(running: Running, ending: str) -> None:
    for name in ("service", "stubborn"):
        control.ask(running.state, "start", name)
    assert wait_until(lambda: len(running.processes()) == 5, 5)
    if ending == "command":
        assert stop_stack(running.state) is True
    else:
        running.process.terminate()
    running.process.wait(15)
    assert running.processes() == []
    assert not is_locked(running.state.supervisor_lock)
    said = running.state.log("supervisor").read_text().split()
    assert said[-2:] == ["broker:", "stopped"]
    assert stop_stack(running.state) is False


def test_a_killed_supervisor_takes_its_parts_with_it(running: Running) -> None:
    control.ask(running.state, "start", "service")
    assert wait_until(lambda: len(running.processes()) == 4, 5)
    direct = [running.part(name)["pid"] for name in ("broker", "service")]
    running.process.kill()
    running.process.wait()
    assert wait_until(lambda: not any(map(is_running, direct)), 10)
    with pytest.raises(StackError, match="does not run"):
        control.ask(running.state, "status")
    assert not is_locked(running.state.supervisor_lock)


def test_what_a_killed_supervisor_left_is_cleared(running: Running) -> None:
    control.ask(running.state, "start", "stubborn")
    stubborn = running.part("stubborn")["pid"]
    assert wait_until(lambda: ignores_signal(stubborn, signal.SIGTERM), 10)
    running.process.kill()
    running.process.wait()
    assert is_running(stubborn)  # it ignores the signal that the kernel sent
    assert end_strays(running.state) > 0
    assert running.processes() == []


def test_the_channel_works_at_any_depth(place: Path) -> None:
    deep = StateDir(place / ("d" * 100) / ("e" * 100))
    deep.create()
    with control.listen(deep):
        socket_file = deep.path / "control.sock"
        assert len(str(socket_file)) > 108
        assert socket_file.stat().st_mode & 0o777 == 0o600

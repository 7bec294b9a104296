"""The supervisor: starts the parts in order, starts again what dies, and stops all of it in order.

One thread, one loop. It is the parent of every part; if it is killed, the kernel ends the parts
(each gets its orphan signal), and the next `up` clears what a power cut may have left.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from deploy.local import control
from deploy.local.errors import StackError
from deploy.local.parts import Part
from deploy.local.processes import Child
from deploy.local.state import StateDir, write_private_json

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 10.0
# A part that has run this long has recovered: the next failure counts as the first.
_STEADY_SECONDS = 30.0
_LARGEST_LOG_BYTES = 5_000_000


@dataclass(slots=True)
class Watched:
    """A part and what the supervisor knows about it."""

    part: Part
    wanted: bool = False
    child: Child | None = None
    failures: int = 0
    restarts: int = 0
    next_start: float = 0.0
    last_error: str = ""


@dataclass(slots=True)
class Supervisor:
    """Keeps `servers`, then `services`, running in `state` with the given environment.

    Servers start at once. Services wait until someone asks for them (`up` does, once the database
    is migrated). `details` goes into the state file and into each status answer.
    """

    state: StateDir
    servers: Sequence[Part]
    services: Sequence[Part]
    environment: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)
    _watched: dict[str, Watched] = field(init=False)
    _ending: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._watched = {part.name: Watched(part) for part in (*self.servers, *self.services)}

    def run(self) -> None:
        """Supervise until SIGTERM, SIGINT or the command `shutdown`; then stop all parts."""
        waker, wakened = socket.socketpair()
        for end in (waker, wakened):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # wakes the loop
        with selectors.DefaultSelector() as selector, control.listen(self.state) as channel:
            selector.register(wakened, selectors.EVENT_READ)
            selector.register(channel, selectors.EVENT_READ)
            try:
                for part in self.servers:
                    self._watched[part.name].wanted = True
                self._write_state()
                while not self._ending:
                    self._keep_running()
                    for key, _ in selector.select(self._pause()):
                        if key.fileobj is channel:
                            self._answer(channel)
                        else:
                            _drain(wakened)
            finally:
                self._stop_all()
        signal.set_wakeup_fd(-1)
        waker.close()
        wakened.close()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _pause(self) -> float | None:
        """Seconds until the next start is due; None: until something happens."""
        now = time.monotonic()
        due = [w.next_start - now for w in self._watched.values() if w.wanted and not w.child]
        return max(0.0, min(due)) if due else None

    def _keep_running(self) -> None:
        """Note which parts have died, and start those whose time has come."""
        changed = False
        for watched in self._watched.values():
            if watched.child and watched.child.exited():
                self._note_death(watched)
                changed = True
            due = watched.wanted and not watched.child and time.monotonic() >= watched.next_start
            if due and not self._ending:
                self._start(watched)
                changed = True
        if changed:
            self._write_state()

    def _start(self, watched: Watched) -> None:
        log = self.state.log(watched.part.name)
        try:
            rotate(log)
            program = watched.part.program()
            watched.child = Child(program, log=log, environment=self.environment)
        except (StackError, OSError) as error:
            watched.last_error = str(error)
            self._say(f"{watched.part.name}: {error}")
            self._back_off(watched)
            return
        watched.last_error = ""
        self._say(f"{watched.part.name}: started, process {watched.child.pid}")

    def _note_death(self, watched: Watched) -> None:
        child = watched.child
        if child is None:
            return
        status = child.reap()
        watched.child = None
        if time.monotonic() - child.started_at > _STEADY_SECONDS:
            watched.failures = 0
        if status == child.program.gives_up_with:
            watched.wanted, watched.last_error = False, "cannot run here: see its log"
            self._say(f"{watched.part.name}: {watched.last_error}")
            return
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        watched.last_error = f"ended {how}"
        self._say(f"{watched.part.name}: {watched.last_error}")
        self._back_off(watched)

    def _back_off(self, watched: Watched) -> None:
        delay = min(_FIRST_DELAY_SECONDS * 2**watched.failures, _LONGEST_DELAY_SECONDS)
        watched.failures = min(watched.failures + 1, 10)
        watched.restarts += 1
        watched.next_start = time.monotonic() + delay

    def _stop(self, names: Sequence[str]) -> None:
        """Stop parts together: signal each, then wait for each."""
        stopping = [watched for name in names if (watched := self._watched[name]).child]
        for watched in stopping:
            if watched.child:
                watched.child.send(watched.child.program.stop_signal)
        for watched in stopping:
            if watched.child:
                watched.child.wait(watched.child.program.stop_seconds)
                watched.child.reap()
                watched.child = None
                self._say(f"{watched.part.name}: stopped")

    def _stop_all(self) -> None:
        """Services first and together, then the servers one by one, Postgres last."""
        self._stop([part.name for part in self.services])
        for part in reversed(self.servers):
            self._stop([part.name])
        self._write_state()
        (self.state.path / "control.sock").unlink(missing_ok=True)

    def _answer(self, channel: socket.socket) -> None:
        """Serve one command. Whatever the other side does, the supervisor goes on."""
        with suppress(OSError, ValueError):
            connection, _ = channel.accept()
            with connection:
                connection.settimeout(2)
                request = control.receive(connection)
                answer = self._carry_out(str(request.get("command")), str(request.get("part")))
                control.send(connection, answer)

    def _carry_out(self, command: str, name: str) -> dict[str, Any]:
        if command == "status":
            return {"ok": True, **self.details, "parts": [*map(self._status, self._watched)]}
        if command == "shutdown":
            self._ending = True
            return {"ok": True}
        watched = self._watched.get(name)
        if watched is None:
            known = ", ".join(self._watched)
            return {"ok": False, "error": f"There is no part {name!r} here. Parts: {known}."}
        if command not in ("start", "stop", "restart"):
            return {"ok": False, "error": f"There is no command {command!r}."}
        if command in ("stop", "restart"):
            watched.wanted = False
            self._stop([name])
        if command in ("start", "restart"):
            watched.wanted, watched.failures, watched.next_start = True, 0, 0.0
            if not watched.child:
                self._start(watched)
        self._write_state()
        return {"ok": True, "parts": [self._status(name)]}

    def _status(self, name: str) -> dict[str, Any]:
        watched = self._watched[name]
        if watched.child and not watched.child.exited():
            status = "ready" if watched.part.is_ready() else "starting"
        else:
            status = "waiting" if watched.wanted else "stopped"
        return {
            "name": name,
            "status": status,
            "pid": watched.child.pid if watched.child else None,
            "restarts": watched.restarts,
            "error": watched.last_error,
        }

    def _write_state(self) -> None:
        pids = {name: w.child.pid for name, w in self._watched.items() if w.child}
        document = {**self.details, "supervisor": os.getpid(), "parts": pids}
        try:
            write_private_json(self.state.state_file, document)
        except OSError as error:  # a full disk must not end the parts
            self._say(f"cannot write {self.state.state_file}: {error.strerror}")

    def _say(self, text: str) -> None:
        with suppress(OSError):
            print(datetime.now(UTC).isoformat(timespec="seconds"), text, flush=True)


def _drain(wakened: socket.socket) -> None:
    with suppress(BlockingIOError):
        while wakened.recv(4096):
            pass


def rotate(log: Path) -> None:
    """Move a large log file aside before it is opened again; the one moved earlier is dropped."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))

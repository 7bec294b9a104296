"""Starting, ending and finding processes so that none is ever left behind (Linux)."""

import ctypes
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from deploy.local.errors import StackError

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that a program is dropped to."""

    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """`nobody` if we are root, because Postgres refuses to run as root; else None: stay who we are.

    Raises StackError if there is no such account.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError(
            "Postgres does not run as root and this machine has no account `nobody`. "
            "Run this as an ordinary user, or set DATABASE_URL to a server of yours."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, and how it likes to be ended."""

    argv: tuple[str, ...]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    # Sent by the kernel when the supervisor dies without having stopped the program.
    orphan_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    # The exit status by which it says that starting it again is of no use.
    gives_up_with: int | None = None
    account: Account | None = None


class Child:
    """A started program, and every process of its process group."""

    def __init__(self, program: Program, *, log: Path, environment: Mapping[str, str]) -> None:
        """Start `program`, appending its output to `log`.

        Call it from the main thread: the kernel ends the program when the starting thread ends.
        """
        self.program = program
        self.started_at = time.monotonic()
        account = program.account
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # Popen is waited for in reap(): a `with` block would wait right here.
            self._popen = subprocess.Popen(
                program.argv,
                cwd=program.cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                preexec_fn=_follow_parent(os.getpid(), program.orphan_signal),
            )
        except OSError as error:
            raise StackError(
                f"Cannot start {program.argv[0]}: {error.strerror}.", log=log
            ) from error
        finally:
            os.close(descriptor)
        self.pid = self._popen.pid

    def exited(self) -> bool:
        """Whether the program has ended. Its process id stays taken until reap()."""
        if self._popen.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def reap(self) -> int:
        """Kill what is left of the process group, then return the exit status (-N: by signal N)."""
        if self._popen.returncode is None:
            # While the leader is not reaped, no other group can have its number.
            _signal_group(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        if not self.exited():
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the program; False if it still runs after `seconds`."""
        return wait_until(self.exited, seconds)

    def stop(self) -> int:
        """Ask the program to end, insist after its time is over, and return the exit status."""
        self.send(self.program.stop_signal)
        self.wait(self.program.stop_seconds)
        return self.reap()


def wait_until(
    condition: Callable[[], bool], seconds: float, *, pause: float = POLL_SECONDS
) -> bool:
    """Poll `condition` until it holds (True) or `seconds` have passed (False)."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def _follow_parent(parent: int, number: signal.Signals) -> Callable[[], None]:
    """What a child runs before its program: ask the kernel to signal it when the parent dies."""

    def follow() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call above
            os._exit(1)

    return follow


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        pass  # only processes that changed their user are left: they follow their own parent


def random_port() -> int:
    """A free loopback port below the range that the kernel gives to outgoing connections.

    Inside that range, a client that retries while its server is down may be given the server's own
    port as its source, connect to itself, and keep the server from coming back.
    """
    low = 32768
    with suppress(OSError, ValueError):
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    start, end = (15000, low) if low > 16000 else (50000, 65000)
    for _ in range(200):
        port = SystemRandom().randrange(start, end)
        if port_is_free(port):
            return port
    raise StackError("No free loopback port found: this machine has run out of ports.")


def port_is_free(port: int) -> bool:
    """Whether a server may listen on this loopback port. PermissionError for a privileged one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except PermissionError:
            raise
        except OSError:
            return False
    return True


def _process_ids() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in ("Z", "X")


def find_processes(marker: str, data_dir: Path | None = None) -> list[int]:
    """Running processes of a stack, whoever their parent is now.

    They are known by `marker` in their environment ("NAME=value"). Postgres runs as another user
    when we are root, and in a container root may not read that: it is known by the data directory
    on its command line. Its own children end with it.
    """
    found = []
    for pid in _process_ids():
        process = Path("/proc") / str(pid)
        try:
            ours = data_dir is not None and os.fsencode(data_dir) in _words(process / "cmdline")
            ours = ours or marker.encode() in _words(process / "environ")
        except OSError:
            continue  # gone, or another user's
        if ours and is_running(pid):
            found.append(pid)
    return found


def _words(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\0")


def _gentle_signal(pid: int) -> signal.Signals:
    """The signal that ends a process quickly and cleanly: Postgres waits for clients on SIGTERM."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = ""
    return signal.SIGINT if name == "postgres" else signal.SIGTERM


def end_processes(find: Callable[[], list[int]], *, patience: float = 5.0) -> int:
    """End what `find` finds: gently, after `patience` seconds by SIGKILL. How many there were."""
    first = find()
    for gentle in (True, False):
        for pid in find():
            try:
                os.kill(pid, _gentle_signal(pid) if gentle else signal.SIGKILL)
            except ProcessLookupError:
                continue
        if wait_until(lambda: not find(), patience):
            break
    return len(first)

"""The trainer as a process: how it is started, known again, and made to stop. Plain Python.

A process number alone says little: the kernel gives it out again. Together with the moment at
which the process started it names one process of this machine (Linux, /proc).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# What a trainer needs of our environment: none of our passwords, addresses and keys.
_KEPT = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HF_HOME",
    "PILLARS_STACK",  # by which `make down` finds what belongs to its stack
})  # fmt: skip
_KEPT_BEGINNINGS = (
    "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_",
    "XDG_",
)  # fmt: skip
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of this machine, since it was started."""

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        found = _stat(self.pid)
        return found is not None and found == (self.started, True)


def identify(pid: int) -> ProcessId | None:
    """The process that has this number now; None if there is none."""
    found = _stat(pid)
    return None if found is None else ProcessId(pid, found[0])


def this_process() -> ProcessId:
    """Ourselves. Raises OSError where there is no /proc."""
    found = identify(os.getpid())
    if found is None:
        raise OSError("/proc does not tell of processes: runs are followed on Linux alone")
    return found


def machine() -> str:
    """By which name runs know this machine."""
    return socket.gethostname()[:255]


def _stat(pid: int) -> tuple[str, bool] | None:
    """When it started (boot and clock ticks since), and whether it runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot}/{fields[19]}", fields[0] not in ("Z", "X")


def clean_environment(inherited: Mapping[str, str], roots: Sequence[Path]) -> dict[str, str]:
    """What the trainer gets. `roots`: folders from which it imports."""
    kept = {
        name: value
        for name, value in inherited.items()
        if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)
    }
    paths = [*map(str, roots), *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
    }


def start(
    words: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start `python WORDS`. What it prints goes to the end of `log`. Raises OSError.

    It has a session of its own: Ctrl-C at our terminal is for us, who pass it on, and it can be
    ended with all of its children. A file takes its output, not a pipe: it outlives us.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def tell(process: ProcessId, number: signal.Signals) -> None:
    """Send a signal to the process and its children; nothing if it is gone."""
    if process.is_alive:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)  # it leads a group of its own


def end(process: ProcessId, *, grace: float) -> None:
    """Stop a process that need not be a child of ours: asked, and after `grace` seconds killed."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        tell(process, number)
        deadline = time.monotonic() + seconds
        while process.is_alive and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

"""A lock on a file, which ends with the process that holds it, however that ends. Plain Python."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as they wrote it down; `what` is empty while they have not yet."""

    what: str = ""
    process: int = 0
    machine: str = ""
    since: str = ""  # UTC

    def __str__(self) -> str:
        if not self.what:
            return "another process"
        return f"process {self.process} on {self.machine}, since {self.since} UTC"


class HeldError(Exception):
    """Somebody else holds the lock."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(str(holder))
        self.holder = holder


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold the lock while the block runs; `what` is told to those who come meanwhile.

    The kernel ends it with the process, so nothing is left to clear away after a kill: the file
    stays and means nothing by itself. Raises HeldError at once if it is held, OSError if the file
    cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(_holder(file)) from None
        _write(file, what)
        yield


def _write(file: IO[str], what: str) -> None:
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    file.seek(0)
    file.truncate()
    json.dump(
        {"what": what, "process": os.getpid(), "machine": socket.gethostname(), "since": now}, file
    )
    file.flush()


def _holder(file: IO[str]) -> Holder:
    file.seek(0)
    try:
        return Holder(**json.load(file))
    except (ValueError, TypeError):
        return Holder()  # it has just taken the lock

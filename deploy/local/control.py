"""The supervisor's control channel: one JSON line in, one JSON line out, on a Unix socket.

The socket lies in the state directory, so only its owner can talk to the supervisor.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deploy.local.errors import StackError
from deploy.local.state import StateDir

_NAME = "control.sock"
# A part that ends slowly (a worker with a task in hand) may take this long to answer for.
_ANSWER_SECONDS = 60.0
_LONGEST_LINE = 65536


@contextmanager
def _short_path(state: StateDir) -> Iterator[str]:
    """A path of the socket that fits the 108 bytes of a socket address, however deep it lies."""
    descriptor = os.open(state.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)


def listen(state: StateDir) -> socket.socket:
    """Open the channel. The caller holds the supervisor's lock, so an old socket is a dead one."""
    (state.path / _NAME).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        with _short_path(state) as path:
            server.bind(path)
    finally:
        os.umask(previous)
    server.listen(8)
    server.setblocking(False)
    return server


def receive(connection: socket.socket) -> dict[str, Any]:
    """The object in one line from the other side; ValueError if it is none."""
    data = b""
    while not data.endswith(b"\n") and (chunk := connection.recv(4096)):
        data += chunk
        if len(data) > _LONGEST_LINE:
            raise ValueError("line too long")
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def send(connection: socket.socket, document: dict[str, Any]) -> None:
    """Send one object as a line."""
    connection.sendall(json.dumps(document).encode() + b"\n")


def ask(
    state: StateDir, command: str, part: str = "", *, seconds: float = _ANSWER_SECONDS
) -> dict[str, Any]:
    """Send a command to the running supervisor and return its answer, within `seconds`.

    Raises StackError if no supervisor answers, or if it refuses the command.
    """
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
            _short_path(state) as path,
        ):
            connection.settimeout(seconds)
            connection.connect(path)
            send(connection, {"command": command, "part": part})
            answer = receive(connection)
    except PermissionError as error:
        raise StackError(
            f"The stack in {state.path} belongs to another user: run this as that user."
        ) from error
    except (OSError, ValueError) as error:
        raise StackError("The stack does not run. Start it with `make up`.") from error
    if not answer.get("ok"):
        raise StackError(str(answer.get("error", "The supervisor refused the command.")))
    return answer

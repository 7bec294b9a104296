"""Where the stack keeps its state, and what it is told by the environment."""

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deploy.local.errors import StackError

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 8800


def write_private_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replace `path` by `document` in one step; readable by its owner alone (mode 0600)."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`, or an empty one if the file is missing or cut off."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class StateDir:
    """The state directory (`.pillars/`): one place per file, and the modes they get."""

    path: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "StateDir":
        """PILLARS_STATE_DIR, or `.pillars` in the repository."""
        return cls(Path(environ.get("PILLARS_STATE_DIR") or REPOSITORY / ".pillars").resolve())

    def create(self) -> None:
        """Make the directory: 0700, or 0711 as root, so that a server run as `nobody` can enter.

        Raises StackError if it cannot be made or written.
        """
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            for directory in (self.path, self.logs):
                directory.mkdir(parents=True, exist_ok=True)
            self.path.chmod(mode)
            self.logs.chmod(0o700)
            probe = self.path / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StackError(
                f"Cannot write the state directory {self.path}: {error.strerror}. Make it "
                "writable, or set PILLARS_STATE_DIR to a directory of yours."
            ) from error

    @property
    def logs(self) -> Path:
        """Directory of the log files, one per part."""
        return self.path / "logs"

    def log(self, part: str) -> Path:
        """Log file of `part`."""
        return self.logs / f"{part}.log"

    @property
    def state_file(self) -> Path:
        """Written by the supervisor: addresses with passwords, process ids (mode 0600)."""
        return self.path / "state.json"

    @property
    def setup_file(self) -> Path:
        """Written by `up`: the secret key and what is already set up (mode 0600)."""
        return self.path / "setup.json"

    @property
    def credentials_file(self) -> Path:
        """Written by `manage.py demo_setup`: the demo's passwords and API keys (mode 0600)."""
        return self.path / "credentials.json"

    @property
    def supervisor_lock(self) -> Path:
        """Locked by the supervisor for as long as it lives."""
        return self.path / "supervisor.lock"


def hold_lock(path: Path, *, seconds: float = 0.0) -> IO[str] | None:
    """Lock a file, or None if a living process still has it locked after `seconds`.

    Closing the file, or dying, unlocks it.
    """
    deadline = time.monotonic() + seconds
    file = path.open("a", encoding="utf-8")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(0.05)
        else:
            return file


def is_locked(path: Path) -> bool:
    """Whether a living process has the file locked."""
    if not path.exists():
        return False
    lock = hold_lock(path)
    if lock is None:
        return True
    lock.close()
    return False


def ensure_identity(state: StateDir) -> None:
    """Give the stack its identifier and secret key, once."""
    document = read_json(state.setup_file)
    if "secret_key" not in document:
        document["secret_key"] = secrets.token_urlsafe(48)
        document["stack"] = secrets.token_hex(8)
        write_private_json(state.setup_file, document)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment asks for. An empty URL means: start that server here."""

    port: int
    database_url: str
    redis_url: str
    fingerprint: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read PILLARS_PORT, DATABASE_URL and REDIS_URL; StackError if the port is none."""
        text = environ.get("PILLARS_PORT") or str(DEFAULT_PORT)
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
            raise StackError(f"PILLARS_PORT is {text!r}; it must be a port from 1 to 65535.")
        given = sorted(
            f"{name}={value}"
            for name, value in environ.items()
            if name in ("DATABASE_URL", "REDIS_URL") or name.startswith("PILLARS_")
        )
        return cls(
            port=int(text),
            database_url=environ.get("DATABASE_URL", ""),
            redis_url=environ.get("REDIS_URL", ""),
            fingerprint=hashlib.sha256("\0".join(given).encode()).hexdigest(),
        )

    @property
    def base_url(self) -> str:
        """Address of the web server, as people open it."""
        return f"http://localhost:{self.port}"

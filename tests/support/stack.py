"""A whole local stack of its own for tests, driven by its command line, and its people."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.processes import random_port
from deploy.local.state import REPOSITORY, StateDir

# What the tests have set for servers of their own must not reach this stack.
_OURS = ("DATABASE_URL", "REDIS_URL", "PILLARS_STATE_DIR", "PILLARS_PORT", "PILLARS_SECRET_KEY")


# Loading a language model takes long: one test of the local stack does.
WITHOUT_MODEL = {"PILLARS__INFERENCE__BACKEND": "none"}
# Nobody waits half a minute for each label of a test to be counted.
QUICK = {"PILLARS__REVIEW__COUNT_EVERY_SECONDS": "3"}


@dataclass(frozen=True)
class Login:
    """Who logs in where. `base` is scheme, host and port."""

    base: str
    username: str
    password: str


@dataclass(frozen=True)
class Answer:
    """An answer of the API."""

    status: int
    body: dict[str, Any]


class Stack:
    """A running stack, told by its credentials.json."""

    def __init__(self, credentials: dict[str, Any], state: StateDir) -> None:
        self.credentials = credentials
        self.state = state
        self.url: str = credentials["url"]

    @classmethod
    def at(cls, state: Path) -> "Stack":
        """The stack that keeps its state there."""
        files = StateDir(state)
        return cls(json.loads(files.credentials_file.read_text()), files)

    @property
    def database_url(self) -> str:
        """Where its database is."""
        return str(json.loads(self.state.state_file.read_text())["database_url"])

    @property
    def training(self) -> Path:
        """The training folder of a stack of the tests' own."""
        return self.state.path / "training"

    @property
    def operator(self) -> Login:
        """The platform's operator."""
        person = self.credentials["platform_admin"]
        return Login(self.url, person["username"], person["password"])

    def of_platform(self, name: str) -> Login:
        """`curator`, `approver` or `second-approver`: who works on the knowledge; `engineer` or
        `model-approver`: on models.
        """
        person = {**self.credentials["knowledge"], **self.credentials["models"]}[name]
        return Login(self.url, person["username"], person["password"])

    def person(self, role: str, tenant: int = 0) -> Login:
        """`admin` or `officer` of one of the two demo tenants."""
        entry = self.credentials["tenants"][tenant]
        person = entry[role]
        base = entry["url"].removesuffix("/admin/")
        return Login(base, person["username"], person["password"])

    def api_key(self, tenant: int = 0) -> str:
        """A demo tenant's API key."""
        return str(self.credentials["tenants"][tenant]["api_key"])

    def manage(self, *words: str) -> None:
        """Run `manage.py` beside the stack."""
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        result = subprocess.run(
            [sys.executable, "-m", "deploy.local", "manage", *words],
            cwd=REPOSITORY,
            env={**inherited, **WITHOUT_MODEL, "PILLARS_STATE_DIR": str(self.state.path)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def map(self, key: str, detector: str = "presidio", output: Any = None) -> Answer:
        """POST /map with a key."""
        body = {"detector": detector, "output": output or [{"entity_type": "US_SSN", "score": 0.9}]}
        request = urllib.request.Request(
            f"{self.url}/map",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()))


class OwnStack:
    """A stack with an empty state and a port of its own; `with` starts and stops it."""

    def __init__(self, **more: str) -> None:
        """`more`: further environment, such as settings that the tests' own must not decide."""
        self._place = Path(tempfile.mkdtemp(prefix="pillars-browser-"))
        self._place.chmod(0o711)  # PostgreSQL runs as another user when the tests run as root
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        self.environment = {
            **inherited,
            **WITHOUT_MODEL,
            **QUICK,
            "PILLARS_STATE_DIR": str(self._place / "state"),
            "PILLARS__TRAINING__FOLDER": str(self._place / "state" / "training"),
            "PILLARS__TRAINING__BASE": str(self._place / "state" / "training" / "base"),
            "PILLARS_PORT": str(random_port()),
            **more,
        }

    def __enter__(self) -> Stack:
        try:
            self.run("up")
        except BaseException:
            self._remove()
            raise
        return Stack.at(self._place / "state")

    def __exit__(self, *_exception: object) -> None:
        try:
            self.run("down")
        finally:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def run(self, *words: str) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "deploy.local", *words],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stdout + result.stderr

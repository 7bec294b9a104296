"""What the tests of the local stack share: a place of their own, a clean environment."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.state import REPOSITORY, StateDir, ensure_identity
from tests.support.stack import WITHOUT_MODEL

_OURS = ("DATABASE_URL", "REDIS_URL", "PILLARS_STATE_DIR", "PILLARS_PORT", "PILLARS_SECRET_KEY")


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory that any user may pass through (pytest's own are closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="pillars-local-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def state(place: Path) -> StateDir:
    """A new state directory."""
    directory = StateDir(place / "state")
    directory.create()
    ensure_identity(directory)
    return directory


@pytest.fixture
def clean_environment(state: StateDir) -> dict[str, str]:
    """The environment of a person at a terminal, with the state directory moved."""
    return person_environment(state)


def person_environment(state: StateDir, **changed: str) -> dict[str, str]:
    """The environment of a person at a terminal: nothing of what the tests have set."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    return {
        **inherited,
        **WITHOUT_MODEL,
        "PILLARS_STATE_DIR": str(state.path),
        "PYTHONPATH": str(REPOSITORY),
        "COLUMNS": "100",
        **changed,
    }

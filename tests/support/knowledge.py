"""A copy of the shipped knowledge that a test may spoil."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped files, copied."""
    from django.conf import settings

    copy = tmp_path / "knowledge"
    shutil.copytree(settings.KNOWLEDGE_DIR, copy)
    return copy


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str, str], None]:
    """edit(file, old, new): replace the first `old` of a file, which must be there."""

    def change(name: str, old: str, new: str) -> None:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def version_of(detector: str) -> str:
    """The version of a shipped detector file."""
    from django.conf import settings

    text = (settings.KNOWLEDGE_DIR / "detectors" / f"{detector}.yaml").read_text(encoding="utf-8")
    return str(re.search(r'^version: "(.+)"$', text, re.MULTILINE)[1])  # type: ignore[index]


def next_version(detector: str) -> str:
    """The version after that."""
    edition, _, serial = version_of(detector).rpartition(".")
    return f"{edition}.{int(serial) + 1}"


def versions(detector: str) -> tuple[str, str]:
    """The line of a shipped detector file with its version, and the line that raises it."""
    return f'version: "{version_of(detector)}"', f'version: "{next_version(detector)}"'

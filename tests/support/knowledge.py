"""A copy of the shipped knowledge that a test may spoil."""

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

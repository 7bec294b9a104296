"""Bytes that are on the disk, not only in its cache, when a call returns. Plain Python."""

import os
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """A whole file. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """A file that was written, or the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

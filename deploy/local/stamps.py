"""What has changed since last time: hashes that let `up` skip what is done."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.local.state import REPOSITORY, StateDir, read_json, write_private_json

_SOURCE = ("platform", "mapping", "taxonomy", "reporting", "training", "deploy", "pillars.yaml")
_KNOWLEDGE = ("pillars-detectors",)


def tree_stamp(paths: Iterable[Path]) -> str:
    """Hash of the names, sizes and times of all files under `paths`, caches aside."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and file.parent.name != "__pycache__":
                facts = file.stat()
                digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def installation_stamp() -> str:
    """Changes with what decides the installed versions (bootstrap.py keeps that hash)."""
    record = read_json(Path(sys.prefix) / "pillars-installed.json")
    return hashlib.sha256(f"{sys.prefix}\0{record.get('hash')}".encode()).hexdigest()


def source_stamp() -> str:
    """Hash of the code that runs: this repository's and what is installed."""
    return installation_stamp() + tree_stamp(REPOSITORY / name for name in _SOURCE)


def static_stamp() -> str:
    """Hash of the files that a browser loads: this repository's and those of installed packages."""
    return installation_stamp() + tree_stamp(REPOSITORY.glob("*/*/static"))


def knowledge_stamp() -> str:
    """Hash of the taxonomy, detectors and frameworks."""
    return tree_stamp(REPOSITORY / name for name in _KNOWLEDGE)


class Done:
    """Which steps are done, and with what they were done; kept in the state directory."""

    def __init__(self, state: StateDir) -> None:
        self._path = state.setup_file

    def has(self, step: str, stamp: str) -> bool:
        """Whether `step` was done with just this stamp."""
        return bool(read_json(self._path).get("done", {}).get(step) == stamp)

    def note(self, step: str, stamp: str) -> None:
        """Remember that `step` is done."""
        document = read_json(self._path)
        document["done"] = {**document.get("done", {}), step: stamp}
        write_private_json(self._path, document)

"""A training folder with a data set in its store."""

import json
import tempfile
from pathlib import Path

from tests.training.lora_fixture import write_data
from training.datasets import store


def keep_data_set(root: Path) -> str:
    """Keep the trainer's small data set in the store under `root`; its digest."""
    with tempfile.TemporaryDirectory() as place:
        folder = write_data(Path(place) / "fixture")
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = json.loads(files.pop(store.MANIFEST))
    return store.save(root / "datasets", files, manifest).digest

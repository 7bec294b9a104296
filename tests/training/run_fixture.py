"""A training folder with a data set in its store."""

import hashlib
import json
import tempfile
from pathlib import Path

from tests.training.lora_fixture import write_data
from training.datasets import store


def keep_data_set(root: Path) -> str:
    """Keep the trainer's small data set in the store under `root`; its digest."""
    with tempfile.TemporaryDirectory() as place:
        folder = write_data(Path(place) / "fixture")
        manifest = json.loads((folder / "manifest.json").read_text())
        files = {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}
    files |= {"dataset.json": b"[]", "taxonomy.json": b"{}", "README.md": b""}
    named = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    card = {"file": "README.md", "sha256": named.pop("README.md")}
    manifest |= {
        "files": named,
        "card": card,
        "encoder_dataset": {"file": "dataset.json", "sha256": named["dataset.json"]},
        "taxonomy": {"file": "taxonomy.json", "sha256": named["taxonomy.json"]},
    }
    manifest["digest"] = store.digest_of(manifest)
    return store.save(root / "datasets", files, manifest).digest

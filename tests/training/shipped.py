"""The data set of the shipped models, made of the detector files."""

import json
from pathlib import Path

import yaml

from training.encoder import data
from training.encoder.build import build


def write_shipped_data(folder: Path) -> None:
    """dataset.json and taxonomy.json."""
    knowledge = Path("pillars-detectors")
    taxonomy = yaml.safe_load((knowledge / "taxonomy" / "2026.11.yaml").read_text("utf-8"))
    files = [
        yaml.safe_load(p.read_text("utf-8")) for p in sorted(knowledge.glob("detectors/*.yaml"))
    ]
    data.write(folder / "dataset.json", build(taxonomy, files))
    (folder / "taxonomy.json").write_text(json.dumps(taxonomy, default=str))

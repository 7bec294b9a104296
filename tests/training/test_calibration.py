"""`python -m training.calibration`: what ships is its work, and what fits already is left."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mapping.evaluation.folds import Folds, key_of
from mapping.evaluation.models import PARTS
from mapping.resolver.artifacts import SHIPPED, digest_of
from mapping.resolver.calibrate import Calibrator
from mapping.resolver.glossary import FILE
from training.calibration.__main__ import Job, plan_of
from training.datasets.sources import encoder_dataset, read_knowledge

EDITION = "2026.11"
ROOT = Path(__file__).parents[2]
KNOWLEDGE = ROOT / "pillars-detectors"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The shipped encoder and glossary, without anything fitted."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("encoder", FILE):
        os.symlink(SHIPPED / name, folder / name)
    return folder


def test_the_shipped_calibrators_are_of_what_ships(models: Path, tmp_path: Path) -> None:
    knowledge = read_knowledge(KNOWLEDGE, EDITION)
    content = json.loads((SHIPPED / "calibrators" / "model.json").read_text("utf-8"))
    (tmp_path / "identity.json").write_text(json.dumps(content["identity"]), "utf-8")
    assert plan_of(knowledge, SHIPPED, EDITION, tmp_path / "identity.json").missing == []

    for name in ("calibrators", "folds"):
        shutil.copytree(SHIPPED / name, models / name)
    plan = plan_of(knowledge, models, EDITION, tmp_path / "identity.json")
    assert plan.missing == []
    (models / "folds" / "model-without-3.json").write_text("{}", "utf-8")
    path = models / "calibrators" / "retrieval.json"
    path.write_text(path.read_text("utf-8").replace(digest_of(models), "0" * 64), "utf-8")
    assert plan.missing == [Job("retrieval", None), Job("model", 3)]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Knowledge of a dozen small detectors."""
    folder = tmp_path / "knowledge"
    (folder / "detectors").mkdir(parents=True)
    os.symlink(KNOWLEDGE / "taxonomy", folder / "taxonomy")
    files = sorted(KNOWLEDGE.glob("detectors/*.yaml"), key=lambda path: path.stat().st_size)
    for path in files[:12]:
        os.symlink(path, folder / "detectors" / path.name)
    return folder


def test_it_fits_from_scores_what_is_missing(models: Path, few: Path, tmp_path: Path) -> None:
    dataset = encoder_dataset(read_knowledge(few, EDITION))
    shipped = Folds.load(SHIPPED / "folds" / "folds.npz")
    rows = [shipped.row(key_of(one.detector, one.label)) for one in dataset.examples]
    scores = tmp_path / "scores"
    scores.mkdir()
    for name in ("detector_cosines", "detector_neighbours", "vendor_cosines", "vendor_neighbours",
                 "untrained_cosines"):  # fmt: skip
        np.save(scores / f"{name.replace('_', '-')}.npy", shipped.arrays[name][rows])

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "training.calibration", scores, models, "--directory", few],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    assert len(run().splitlines()) == 1 + PARTS
    made = Calibrator.load(models / "calibrators" / "retrieval.json")
    assert (made.encoder, made.identity) == (digest_of(models), None)
    assert made.described.features[0] > 0, "a nearer text speaks for an answer"
    kept = Folds.load(models / "folds" / "folds.npz")
    assert kept.names == shipped.names
    there = shipped.arrays["vendor_cosines"][rows]
    assert np.abs(kept.arrays["vendor_cosines"] - there).max() < 0.01
    (models / "folds" / "retrieval-without-2.json").unlink()
    assert [line.split(":")[0] for line in run().splitlines()] == ["folds/retrieval-without-2.json"]

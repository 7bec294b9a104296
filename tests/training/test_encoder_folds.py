"""Folds of the encoder: nobody is scored by an encoder that has seen their vendor."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from tests.training import toy
from training.encoder.data import Example
from training.encoder.folds import PROTOCOLS, folds_of

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")


def an_example(detector: str, vendor: str) -> Example:
    return Example(detector, vendor, "pii", f"{detector} label", (), "", ("PII.Other",))


EXAMPLES = [
    an_example(f"detector-{number}", f"vendor-{number // 2}" if number < 20 else "")
    for number in range(30)
    for _ in range(1 + number % 3)
]


def test_every_detector_and_every_vendor_of_several_is_held_out() -> None:
    folds = folds_of(EXAMPLES)
    assert sorted(fold.protocols for fold in folds) == [("detector",)] * 30 + [("vendor",)] * 10
    for protocol in PROTOCOLS:
        rows = [row for fold in folds if protocol in fold.protocols for row in fold.rows]
        assert len(rows) == len(set(rows))


@pytest.mark.parametrize("parts", [1, 4, 20])
def test_parts_hold_whole_vendors_out_and_score_each_label_once(parts: int) -> None:
    folds = folds_of(EXAMPLES, parts)
    assert len(folds) <= parts
    assert {fold.protocols for fold in folds} == {PROTOCOLS}
    assert sorted(row for fold in folds for row in fold.rows) == list(range(len(EXAMPLES)))
    for fold in folds:
        inside = {one.vendor for one in EXAMPLES if one.vendor and one.detector in fold.held_out}
        outside = {one.vendor for one in EXAMPLES if one.detector not in fold.held_out}
        assert inside.isdisjoint(outside)
        assert {EXAMPLES[row].detector for row in fold.rows} == fold.held_out


def test_the_command_scores_every_label_by_parts(tmp_path: Path) -> None:
    toy.write_data(tmp_path)
    (tmp_path / "encoder").mkdir()
    toy.write_encoder(tmp_path / "encoder")
    out = tmp_path / "out"
    words = ["folds", str(tmp_path / "dataset.json"), "--base", str(tmp_path / "encoder")]
    words += ["--out", str(out), "--epochs", "1", "--workers", "1", "--parts", "2"]
    subprocess.run(
        [sys.executable, "-m", "training.encoder", *words],
        env={"PYTHONPATH": "platform:.", "OMP_NUM_THREADS": "1"},
        cwd=settings.REPOSITORY,
        check=True,
        capture_output=True,
    )
    assert json.loads((out / "folds.json").read_text())["parts"] == 2
    scores = [np.load(out / f"{protocol}-cosines.npy") for protocol in PROTOCOLS]
    assert np.isfinite(scores[0].astype(float)).all()
    assert np.array_equal(scores[0], scores[1])
    assert np.isfinite(np.load(out / "vendor-neighbours.npy").astype(float)).all()
    published = np.load(out / "untrained-cosines.npy")
    assert published.shape == scores[0].shape
    assert not np.allclose(published, scores[0], atol=1e-3)

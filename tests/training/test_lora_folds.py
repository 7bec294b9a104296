"""Folds: five data sets, an adapter for each, and the letters of every label by one without it."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from deploy.local.state import REPOSITORY
from mapping.resolver.prompt import build_prompt, options_for
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion
from tests.training.lora_fixture import write_base
from tests.training.small_set import recipe_of, small_knowledge
from training.datasets import store
from training.datasets.folds import build_folds
from training.datasets.splits import Splitting
from training.encoder import data
from training.lora.__main__ import main
from training.lora.folds import FOLDS, Material, fold_of
from training.lora.refusals import DONE, FAILED, REFUSED, Refused

# Of four vendors and two folds: each fold costs two processes.
DETECTORS = ("llama-guard-3", "detoxify", "toxic-chat", "wildguard")
SMALL = ("max_rows=24", "max_steps=2", "evaluation_rows=8", "max_length=512")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("folds") / "base")


@pytest.fixture(scope="module")
def folds_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    for kind in ("taxonomy", "golden", "detectors"):
        shutil.copytree(small_knowledge() / kind, folder / "knowledge" / kind)
    for path in folder.glob("knowledge/detectors/*.yaml"):
        if path.stem not in DETECTORS:
            path.unlink()
    splitting = Splitting(validation=0.3, test=0)
    command = "manage.py build_dataset --name default --seed 0"
    recipe = recipe_of(
        folder / "knowledge", synthetic=1, splitting=splitting, command=command
    )  # fmt: skip
    build_folds(recipe, folder / "data")
    return folder / "data"


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["lora", *map(str, words)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return main()


def test_folds_are_those_of_fold_of_and_nothing_is_offered_twice(folds_data: Path) -> None:
    known = Material(folds_data)
    examples = known.dataset.examples
    asked = Counter(one.example for rows in known.asked.values() for one in rows)
    assert {n: 1 + bool(one.description) for n, one in enumerate(examples)} == asked
    for fold, stored in known.sets.items():
        vendors = {one.vendor or one.detector for one in examples if fold_of(one) == fold}
        card = (stored.folder / store.CARD).read_text()
        assert f"build_dataset --name default-fold-{fold} --fold {fold}/{FOLDS} --seed 0" in card
        for side in ("train", "validation", "test"):
            for row in stored.rows(side):
                assert len(set(row["names"])) == len(row["names"])
                assert row["names"].count(NONE_OF_THESE) == 1
                if row["kind"] == "detector":
                    whose = row["vendor"] or row["detector"]
                    assert (whose in vendors) == (side == "test")


def test_the_trainer_wants_few_packages() -> None:
    """A machine that trains has what the extra `model` needs, and not the rest of Pillars."""
    missing = ("django", "jsonschema", "orjson", "structlog", "celery", "redis", "psycopg")
    steps = ("__main__", "command", "folds", "letters", "rows", "trainer")
    code = f"import sys; sys.modules |= dict.fromkeys({missing!r}); " + "; ".join(
        f"import training.lora.{step}" for step in steps
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


def test_none_of_these_is_offered_once_and_last() -> None:
    labels = {name: {"meaning": name} for name in ("A.X", "A.Y", "B.X", "B.Other", "C.D.X")}
    for place in range(4):
        few = ["A.X", "B.X", "C.D.X", NOT_A_FINDING]
        few.insert(place, NONE_OF_THESE)
        options = options_for(few, {"labels": labels})
        names = [option.name for option in options]
        assert names[-1] == NONE_OF_THESE
        assert len(set(names)) == len(names)
        assert set(few) <= set(names)
        assert len(build_prompt(LabelQuestion("d", "l"), options).names) == len(names)


def test_every_label_is_asked_of_an_adapter_that_has_not_seen_its_vendor(
    base: Path, folds_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    sets = [word for change in SMALL for word in ("--set", change)]
    words = (folds_data, "--base", base, "--out", out)
    folds = ("folds", *words, "--profile", "tiny", "--workers", 2, *sets)
    assert call(monkeypatch, *folds) == DONE
    assert call(monkeypatch, "zero-shot", *words) == DONE
    known = Material(folds_data)
    letters, base_alone, lists = (
        np.load(out / f"{name}.npy") for name in ("letters", "zero-shot", "shortlists")
    )
    names = list(known.dataset.texts)
    taxonomy = next(iter(known.sets.values())).taxonomy()
    for row, one in enumerate(known.dataset.examples):
        for variant in range(2):
            few = [names[int(number)] for number in lists[row, variant]]
            offered = len(options_for(few, taxonomy))
            for scores in (letters[row, variant], base_alone[row, variant]):
                assert np.isfinite(scores[:offered]).all(), one
                assert np.isnan(scores[offered:]).all()
                assert np.exp(scores[:offered]).sum() <= 1 + 1e-4
    assert not np.allclose(letters, base_alone, equal_nan=True)
    runs = [json.loads((out / f"fold-{n}" / "run.json").read_text()) for n in known.asked]
    assert [run["data_set"] for run in runs] == [known.sets[n].digest for n in known.asked]
    assert len({run["data_set"] for run in runs}) == len(runs)

    # Called again it goes on with what is missing, and leaves the rest as it is.
    first, *others = known.asked
    kept = [(out / f"fold-{n}" / "letters.npy").stat().st_mtime_ns for n in others]
    (out / f"fold-{first}" / "letters.npy").unlink()
    assert call(monkeypatch, *folds) == DONE
    assert [(out / f"fold-{n}" / "letters.npy").stat().st_mtime_ns for n in others] == kept
    assert np.array_equal(np.load(out / "letters.npy"), letters, equal_nan=True)
    assert call(monkeypatch, *folds, "--precision", "bf16") == REFUSED
    assert "was asked in fp32" in capsys.readouterr().err
    assert call(monkeypatch, *folds, "--set", "seed=3") == REFUSED
    assert "name another --out" in capsys.readouterr().err


def test_a_fold_that_fails_is_named_with_what_it_said(
    base: Path, folds_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = (folds_data, "--base", base, "--out", tmp_path, "--profile", "tiny")
    short = ("--set", "max_length=16", "--set", "max_rows=4", "--workers", 2)
    assert call(monkeypatch, "folds", *words, *short) == FAILED
    assert "max_length is 16" in capsys.readouterr().err


def test_data_of_other_folds_is_refused(folds_data: Path, tmp_path: Path) -> None:
    known = Material(folds_data)
    folder = shutil.copytree(folds_data, tmp_path / "data")
    lists = known.shortlists.copy()
    lists[:, :, 0] = (lists[:, :, 0] + 1) % len(known.dataset.texts)
    np.save(folder / "shortlists.npy", lists)
    with pytest.raises(Refused, match="offers something else"):
        Material(folder)
    np.save(folder / "shortlists.npy", known.shortlists)
    first, second, *_ = known.asked
    shutil.rmtree(folder / f"fold-{first}")
    with pytest.raises(Refused, match=f"Fold {first} has no data set"):
        Material(folder)
    (there,) = store.folders(folder / f"fold-{second}")
    shutil.copytree(there, folder / f"fold-{first}" / there.name)
    with pytest.raises(Refused, match="other vendors than its own"):
        Material(folder)
    assert data.read(there / "dataset.json").digest == known.dataset.digest
    assert max(known.asked) < FOLDS

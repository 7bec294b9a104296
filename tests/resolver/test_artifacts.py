"""Files of models that are missing, cut off or of something else: refused, and said so."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mapping.resolver.artifacts import (
    SHIPPED,
    Artifacts,
    ArtifactsError,
    save_vectors,
    weights_digest,
)
from mapping.resolver.glossary import FILE, save
from mapping.resolver.texts import candidates

Spoil = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped models, which a test may spoil: links, so that nothing is copied."""
    for name in ("encoder", "calibrators"):
        (tmp_path / name).mkdir()
        for path in (SHIPPED / name).iterdir():
            os.symlink(path, tmp_path / name / path.name)
    os.symlink(SHIPPED / FILE, tmp_path / FILE)
    return tmp_path


def own(path: Path) -> Path:
    """A copy in place of the link."""
    source = path.resolve()
    path.unlink()
    shutil.copyfile(source, path)
    return path


def test_as_shipped_they_load_with_vectors(folder: Path, artifacts: Artifacts) -> None:
    found = Artifacts.load(folder)
    assert found.encoder_digest == artifacts.encoder_digest
    assert found.calibrators == artifacts.calibrators
    text = candidates({"labels": {}})["not_a_finding"]
    # Processors without 8-bit dot products round otherwise: 0.99 was seen, another text has 0.6.
    assert float(found.encoder.encode([text])[0] @ found.encoder.work_out(text)) > 0.98


def cut(name: str, size: int) -> Spoil:
    return lambda folder: os.truncate(own(folder / name), size)


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (remove("encoder/model.onnx"), "the encoder cannot be loaded"),
        (remove("encoder/tokenizer.json"), "the encoder cannot be loaded"),
        (cut("encoder/model.onnx", 100_000), "the encoder cannot be loaded"),
        (cut("encoder/model.onnx", 0), "the encoder cannot be loaded"),
        (cut("encoder/tokenizer.json", 1_000), "the encoder cannot be loaded"),
        (cut("encoder/vectors.npz", 10_000), "the encoder cannot be loaded"),
        (cut(FILE, 10_000), "glossary.npz: no glossary"),
        (remove(FILE), "glossary.npz: no glossary"),
        (cut("calibrators/retrieval.json", 100), "retrieval.json holds no calibrator"),
        (remove("calibrators/retrieval.json"), "no calibrator was fitted for this encoder"),
        (lambda folder: shutil.rmtree(folder / "calibrators"), "no calibrator was fitted"),
        (lambda folder: shutil.rmtree(folder / "encoder"), "the encoder cannot be loaded"),
    ],
)
def test_missing_and_damaged_files_are_named(folder: Path, spoil: Spoil, text: str) -> None:
    spoil(folder)
    with pytest.raises(ArtifactsError, match=text) as error:
        Artifacts.load(folder)
    assert "Install Pillars anew" in str(error.value) or "training.calibration" in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactsError, match="no-models: the encoder cannot be loaded"):
        Artifacts.load(tmp_path / "no-models")


def test_another_encoder_has_no_calibrator(folder: Path) -> None:
    """It loads and would answer, but no number would mean anything."""
    path = own(folder / "encoder" / "model.onnx")
    with path.open("ab") as file:  # field 6 (doc_string) of an ONNX model: the same but by digest
        file.write(b"\x32\x01x")
    with pytest.raises(ArtifactsError, match="no calibrator was fitted for this encoder"):
        Artifacts.load(folder)


def test_another_glossary_has_no_calibrator(folder: Path) -> None:
    path = own(folder / FILE)
    with np.load(path) as content:
        save(folder, dict(content) | {"norms": content["norms"] * 2})
    with pytest.raises(ArtifactsError, match="no calibrator was fitted for this encoder and glos"):
        Artifacts.load(folder)


def test_another_tokenizer_is_noticed(folder: Path) -> None:
    """Words of the vocabulary change places: all loads, and every vector is of another text."""
    import json

    path = own(folder / "encoder" / "tokenizer.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    names = [name for name in vocabulary if name.isalpha()]
    numbers = [vocabulary[name] for name in names]
    vocabulary.update(zip(names, reversed(numbers), strict=True))
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ArtifactsError, match="do not belong together"):
        Artifacts.load(folder)


def test_vectors_of_another_encoder_are_not_used(folder: Path) -> None:
    (folder / "encoder" / "vectors.npz").unlink()
    text = candidates({"labels": {}})["not_a_finding"]
    wrong = {text: np.eye(384)[0]}
    save_vectors(folder, "0" * 64, wrong)
    found = Artifacts.load(folder)
    assert np.allclose(found.encoder.encode([text])[0], found.encoder.work_out(text))


def test_wrong_vectors_of_this_encoder_are_noticed(folder: Path) -> None:
    (folder / "encoder" / "vectors.npz").unlink()
    wrong = {text: np.eye(384)[0] for text in candidates({"labels": {}}).values()}
    save_vectors(folder, weights_digest(SHIPPED), wrong)
    with pytest.raises(ArtifactsError, match="do not belong together"):
        Artifacts.load(folder)


def test_without_vectors_all_is_worked_out(folder: Path) -> None:
    (folder / "encoder" / "vectors.npz").unlink()
    assert Artifacts.load(folder).calibrators

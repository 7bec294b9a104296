"""The files that models are made of, as they come with Pillars or from training."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from mapping.resolver.calibrate import Array, Calibrator, CalibratorError
from mapping.resolver.encoder import SentenceEncoder
from mapping.resolver.glossary import Glossary, GlossaryError
from mapping.resolver.texts import candidates

_TOLERANCE: Final = 0.05
SHIPPED = Path(__file__).resolve().parent.parent / "artifacts"


class ArtifactsError(ValueError):
    """The files cannot be used. The message says which and what to do."""


def text_key(text: str) -> str:
    """Names a text in the file of vectors."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class _Vectors(Mapping[str, Array]):
    """Vectors by text, kept by the texts' hashes."""

    def __init__(self, keys: list[str], rows: Array) -> None:
        self._rows = dict(zip(keys, rows, strict=True))

    def __getitem__(self, text: str) -> Array:
        return self._rows[text_key(text)].astype(np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Any:
        return iter(self._rows)


@dataclass(frozen=True, slots=True)
class Artifacts:
    """An encoder, the glossary beside it and the calibrators that were fitted with both."""

    encoder: SentenceEncoder
    glossary: Glossary
    encoder_digest: str  # see `digest_of`
    calibrators: tuple[Calibrator, ...]  # the first is for retrieval alone

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> Self:
        """Raises ArtifactsError if a file is missing, damaged or made for another encoder."""
        try:
            weights = weights_digest(folder)
            glossary = Glossary.load(folder)
            calibrators = [
                Calibrator.load(path)
                for path in sorted((folder / "calibrators").glob("*.json"), reverse=True)
            ]
            vectors = _vectors(folder, weights)
            encoder = SentenceEncoder(folder / "encoder", vectors=vectors)
            sound = _is_sound(encoder, vectors)
        except (CalibratorError, GlossaryError) as error:
            raise ArtifactsError(str(error)) from None
        except Exception as error:  # noqa: BLE001 - onnxruntime and tokenizers have classes of their own
            raise ArtifactsError(
                f"{folder}: the encoder cannot be loaded ({type(error).__name__}). Install Pillars "
                "anew, or train one with `python -m training.encoder`."
            ) from None
        digest = _joined(weights, glossary.digest)
        fitting = [one for one in calibrators if one.encoder == digest]
        retrieval = [one for one in fitting if one.identity is None]
        if not retrieval:
            raise ArtifactsError(
                f"{folder}: no calibrator was fitted for this encoder and glossary. Their "
                "confidences would mean nothing: fit one with `python -m training.calibration`."
            )
        if not sound:
            raise ArtifactsError(
                f"{folder}: tokenizer.json, model.onnx and vectors.npz do not belong together. "
                "Install Pillars anew, or train one with `python -m training.encoder`."
            )
        others = [one for one in fitting if one.identity is not None]
        return cls(encoder, glossary, digest, (retrieval[0], *others))


def digest_of(folder: Path) -> str:
    """Names what retrieval is made of: the encoder's weights and the glossary.

    Raises OSError or GlossaryError if one is missing.
    """
    return _joined(weights_digest(folder), Glossary.load(folder).digest)


def weights_digest(folder: Path) -> str:
    """SHA-256 of the encoder alone: vectors are of these weights."""
    return hashlib.sha256((folder / "encoder" / "model.onnx").read_bytes()).hexdigest()


def _joined(weights: str, glossary: str) -> str:
    return hashlib.sha256(f"{weights} {glossary}".encode()).hexdigest()


def _is_sound(encoder: SentenceEncoder, vectors: Mapping[str, Array] | None) -> bool:
    """Whether texts that every edition has get unit vectors, and those that are kept for them.

    Processors round differently, but no more than that.
    """
    for text in candidates({"labels": {}}).values():
        made = encoder.work_out(text)
        kept = None if vectors is None else vectors.get(text)
        if made.ndim != 1 or abs(float(np.linalg.norm(made)) - 1) > _TOLERANCE:
            return False
        if kept is not None and (kept.shape != made.shape or float(kept @ made) < 1 - _TOLERANCE):
            return False
    return True


def _vectors(folder: Path, digest: str) -> Mapping[str, Array] | None:
    """Vectors of the shipped knowledge's texts, if they are of this encoder."""
    path = folder / "encoder" / "vectors.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as content:
        facts = json.loads(str(content["facts"]))
        if facts.get("encoder") != digest:
            return None
        return _Vectors(list(map(str, content["keys"])), content["rows"])


def save_vectors(folder: Path, digest: str, vectors: Mapping[str, Array]) -> None:
    """Keep vectors by text, so that a start need not work them out. `digest`: of the weights."""
    np.savez_compressed(
        folder / "encoder" / "vectors.npz",
        facts=np.array(json.dumps({"encoder": digest})),
        keys=np.array([text_key(text) for text in vectors]),
        rows=np.stack(list(vectors.values())).astype(np.float16),
    )

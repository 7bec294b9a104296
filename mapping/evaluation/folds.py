"""Scores of models that had not seen a case's detector: written by training, read here.

Files: ``<name>.npz`` with the labels' texts that were scored, so that scores of other files than
those of today are refused. Cosines are kept in 8 bits.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from mapping.evaluation.cases import Question
from mapping.resolver.retrieve import Array

_SCALE: Final = 127.0


class FoldsError(ValueError):
    """The scores cannot be used. The message says how to make them anew."""


def key_of(detector: str, label: str) -> str:
    """Names a question."""
    return hashlib.sha256(json.dumps([detector, label]).encode()).hexdigest()[:16]


class Folds:
    """Arrays by name: questions x variants (described, label alone) x answers."""

    def __init__(
        self, names: Sequence[str], keys: Sequence[str], arrays: Mapping[str, Array]
    ) -> None:
        self.names = tuple(names)
        self._rows = {key: row for row, key in enumerate(keys)}
        self.arrays = arrays

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises FoldsError if the file is missing or holds something else."""
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = {
                    name: content[name].astype(np.float32) / _SCALE
                    if content[name].dtype == np.int8
                    else content[name].astype(np.float32)
                    for name in content.files
                    if name not in ("names", "keys")
                }
                return cls(list(content["names"]), list(content["keys"]), arrays)
        except (OSError, ValueError, KeyError) as error:
            raise FoldsError(
                f"{path.name}: no scores of held-out detectors ({type(error).__name__}). "
                "Write them with `python -m training.calibration`."
            ) from None

    def save(self, path: Path) -> None:
        """Cosines (-1 to 1) in 8 bits; other arrays as they are."""
        arrays: dict[str, Any] = {
            name: np.round(np.clip(array, -1, 1) * _SCALE).astype(np.int8)
            if np.nanmin(array) >= -1.01 and np.nanmax(array) <= 1.01
            else array
            for name, array in self.arrays.items()
        }
        keys = sorted(self._rows, key=self._rows.__getitem__)
        np.savez_compressed(path, names=np.array(self.names), keys=np.array(keys), **arrays)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def row(self, key: str) -> int | None:
        """The row of a question (see key_of) in every array; None if it was not scored."""
        return self._rows.get(key)

    def of(self, name: str, question: Question) -> Array:
        """Scores of a question, in the order of `names`. Raises FoldsError if there are none."""
        row = self.row(key_of(question.detector, str(question.output)))
        if row is None:
            raise FoldsError(_stale(question))
        found: Array = self.arrays[name][row, 0 if question.description else 1]
        return found


def _stale(question: Question) -> str:
    return (
        f"{question.detector}: its labels have changed since the models were scored on them. "
        "Train and score anew (`python -m training.encoder`), or evaluate a file of cases."
    )

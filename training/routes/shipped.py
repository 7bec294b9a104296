"""The shipped models' scores (mapping/artifacts/folds) in the form of a run's.

The encoder's are those of folds that hold out one vendor each, so it learnt from more than a route
of the five folds does; the letters' folds are the five.
"""

from pathlib import Path

import numpy as np

from mapping.evaluation.folds import Folds, FoldsError, key_of
from mapping.resolver.prompt import build_prompt, options_for
from training.routes.base import Array
from training.routes.material import VARIANTS, Material

_SCALE = 20.0  # of cosines; what is fitted on them finds its own


def bring(data: Path, folds: Path, out: Path) -> None:
    """Writes published, shipped-encoder, shipped-letters and base-letters. FoldsError."""
    known, found = Material(data), Folds.load(folds)
    keys = [key_of(one.detector, one.label) for one in known.dataset.examples]
    rows = [found.row(key) for key in keys]
    if list(found.names) != list(known.names) or rows != list(range(len(keys))):
        raise FoldsError(f"{folds.name} was made of other labels than the data set's.")
    out.mkdir(parents=True, exist_ok=True)
    for name, kind in (("published", "untrained"), ("shipped-encoder", "vendor")):
        cosines = found.arrays[f"{kind}_cosines"]
        _save(out / f"{name}.npy", _SCALE * cosines)
        _save(out / f"{name}-cosines.npy", cosines)
    _save(out / "shipped-encoder-neighbours.npy", found.arrays["vendor_neighbours"])
    for name, kind in (("shipped-letters", "letters"), ("base-letters", "zero_shot")):
        _save(out / f"{name}.npy", _by_answer(known, found, kind))


def _by_answer(known: Material, found: Folds, kind: str) -> Array:
    """The letters' log-probabilities at the places of their answers; branches are left out."""
    numbers = {name: number for number, name in enumerate(known.names)}
    rows = len(known.dataset.examples)
    scores = np.full((rows, len(VARIANTS), len(numbers)), np.nan, dtype=np.float32)
    for variant in range(len(VARIANTS)):
        for row, question in enumerate(known.questions(range(rows), variant)):
            few = found.arrays["shortlists"][row, variant]
            options = options_for([known.names[int(n)] for n in few], known.taxonomy)
            told = found.arrays[kind][row, variant]
            for name, value in zip(build_prompt(question, options).names, told, strict=False):
                if name in numbers:
                    scores[row, variant, numbers[name]] = value
    return scores


def _save(path: Path, array: Array) -> None:
    np.save(path, array.astype(np.float16))

"""The data sets of the folds: each without one part of the vendors, which its test asks about.

FOLDER/fold-N/DIGEST is a data set (see store) whose test has every label of the N-th part of the
vendors. FOLDER/shortlists.npy has what the tests offer: examples x variants (described, label
alone) x 8, as numbers of the answers, in the order of the detector files' labels.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapping.evaluation.folds import Folds, FoldsError, key_of
from mapping.resolver.resolver import SHORTLIST
from training.datasets import store
from training.datasets.build import Built, Recipe, build
from training.datasets.instructions import Nearness
from training.datasets.sources import encoder_dataset, read_knowledge
from training.datasets.splits import SplitError
from training.datasets.store import Stored, StoreError
from training.encoder.data import Dataset
from training.lora.folds import FOLDS, SHORTLISTS, fold_folder, fold_of


def build_folds(
    recipe: Recipe, folder: Path, say: Callable[[Built, Stored], None] = lambda *_: None
) -> list[Stored]:
    """One data set for each fold that has vendors; the recipe's splitting keeps its validation.

    Raises what `build` and `save` raise.
    """
    if recipe.decisions is not None:
        raise SplitError("--folds takes the detector files' labels alone: leave --decisions out.")
    chosen = recipe.splitting
    if chosen.hold_out or chosen.everything or chosen.fold is not None:
        raise SplitError("--folds tests each fifth of the vendors: give no other choice of a test.")
    known = read_knowledge(recipe.directory, recipe.edition)
    dataset = encoder_dataset(known)
    scores = None if recipe.scores is None else Folds.load(recipe.scores)
    if scores is not None:
        _all_scored(scores, dataset)
    lists = _shortlists(Nearness(known.taxonomy, list(dataset.texts), scores), dataset)
    made = []
    for fold in sorted({fold_of(one) for one in dataset.examples}):
        name, splitting = f"{recipe.name}-fold-{fold}", replace(chosen, fold=(fold, FOLDS))
        command = recipe.command.replace(
            f"--name {recipe.name}", f"--name {name} --fold {fold}/{FOLDS}", 1
        )
        built = build(replace(recipe, name=name, splitting=splitting, command=command))
        root = fold_folder(folder, fold)
        kept = store.save(root, built.files, built.manifest)
        if len(store.folders(root)) > 1:
            raise StoreError(f"{root} holds another data set: name a new folder with --folds.")
        made.append(kept)
        say(built, kept)
    np.save(folder / SHORTLISTS, lists)
    return made


def _all_scored(scores: Folds, dataset: Dataset) -> None:
    """A label without scores would be offered other options in every fold."""
    for one in dataset.examples:
        if scores.row(key_of(one.detector, one.label)) is None:
            raise FoldsError(
                f"{one.detector}: labels have changed since the encoders were scored. Score anew "
                "(`python -m training.encoder folds`, `python -m training.calibration`), or build "
                "with --no-scores."
            )


def _shortlists(nearness: Nearness, dataset: Dataset) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(dataset.texts)}
    found = [
        [
            [numbers[name] for name in nearness.of(one, one.label, described)[:SHORTLIST]]
            for described in (bool(one.description), False)
        ]
        for one in dataset.examples
    ]
    return np.array(found, dtype=np.int16)

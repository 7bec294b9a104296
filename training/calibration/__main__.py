"""``python -m training.calibration SCORES MODELS``: calibrators from the scores of the folds.

SCORES holds what ``training.encoder folds`` wrote and, for a model, shortlists.npy, letters.npy and
zero-shot.npy of ``training.lora``.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.folds import Folds, key_of
from mapping.evaluation.models import PARTS, choice_of, part_of
from mapping.evaluation.predictors import Known
from mapping.resolver.artifacts import digest_of
from mapping.resolver.calibrate import Array, Calibrator, with_choice
from mapping.resolver.glossary import Glossary
from mapping.resolver.prompt import options_for
from mapping.resolver.retrieve import Retriever, known_labels
from mapping.resolver.types import Choice, LabelQuestion, ModelIdentity
from taxonomy.agreement import of_entry
from training.calibration.fit import Asked, fit
from training.datasets.sources import encoder_dataset, read_knowledge
from training.encoder.data import Dataset

VARIANTS = 2
SEVERAL = 0.9  # a label that is nearly as likely as the first is answered beside it


def main() -> None:
    """Parse the command line; fit; write."""
    parser = argparse.ArgumentParser(prog="python -m training.calibration", description=__doc__)
    parser.add_argument("scores", type=Path)
    parser.add_argument(
        "models", type=Path, help="folder that holds the encoder and the glossary to be served"
    )
    parser.add_argument("--directory", type=Path, default=Path("pillars-detectors"))
    parser.add_argument("--edition", default="2026.11")
    parser.add_argument("--identity", type=Path, help="JSON of the model that is served")
    options = parser.parse_args()
    encoder, glossary = digest_of(options.models), Glossary.load(options.models)
    knowledge = read_knowledge(options.directory, options.edition)
    known = Known(knowledge.taxonomy, knowledge.detectors)
    dataset = encoder_dataset(knowledge)
    arrays = _arrays(options.scores)
    keys = [key_of(one.detector, one.label) for one in dataset.examples]
    kept = options.models / "folds" / "folds.npz"
    kept.parent.mkdir(parents=True, exist_ok=True)
    Folds(list(dataset.texts), keys, arrays).save(kept)
    arrays = dict(Folds.load(kept).arrays)  # rounded, as they will be read
    identities: dict[str, ModelIdentity | None] = {"retrieval": None}
    if options.identity:
        identities["model"] = ModelIdentity(**json.loads(options.identity.read_text("utf-8")))
    for name, identity in identities.items():
        letters = None if identity is None else arrays["letters"]
        asked = questions(known, dataset, arrays, letters, glossary)
        for part in (None, *range(PARTS)):
            suffix = "" if part is None else f"-without-{part}"
            path = (
                options.models
                / ("calibrators" if part is None else "folds")
                / f"{name}{suffix}.json"
            )
            if path.exists():
                continue
            started = time.monotonic()
            described, bare = (
                fit([one for one in both if part_of(one.group) != part], list(dataset.texts))
                for both in asked
            )
            made = Calibrator(
                encoder, options.edition, identity, described, bare, SEVERAL, dataset.digest
            )
            path.parent.mkdir(exist_ok=True)
            made.save(path)
            print(f"{name}{suffix}: {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201


def _arrays(folder: Path) -> dict[str, Array]:
    """All scores, by the names that evaluations know."""
    found: dict[str, Array] = {
        f"{protocol}_{kind}": np.load(folder / f"{protocol}-{kind}.npy").astype(np.float32)
        for protocol in ("detector", "vendor")
        for kind in ("cosines", "neighbours")
    }
    for kind in ("cosines", "neighbours"):
        # A vendor with one detector is held out with it.
        alone = np.isnan(found[f"vendor_{kind}"])
        found[f"vendor_{kind}"] = np.where(
            alone, found[f"detector_{kind}"], found[f"vendor_{kind}"]
        )
    found["untrained_cosines"] = np.load(folder / "untrained-cosines.npy").astype(np.float32)
    if (folder / "letters.npy").exists():
        found["shortlists"] = np.load(folder / "shortlists.npy").astype(np.int16)
        for name in ("letters", "zero-shot"):
            found[name.replace("-", "_")] = np.load(folder / f"{name}.npy").astype(np.float16)
    return found


def questions(
    known: Known,
    dataset: Dataset,
    arrays: dict[str, Array],
    letters: Array | None,
    glossary: Glossary,
) -> tuple[list[Asked], list[Asked]]:
    """Every label, described and alone, as models saw it that did not know its detector."""
    retriever = Retriever(
        known.taxonomy, known_labels(known.detectors.values(), of_entry), None, glossary
    )
    found: tuple[list[Asked], list[Asked]] = ([], [])
    for row, (one, case) in enumerate(
        zip(dataset.examples, leave_one_out(known.detectors.values()), strict=True)
    ):
        for variant in range(VARIANTS):
            question = LabelQuestion(
                one.detector, one.label, "" if variant else one.description, one.category
            )
            values = retriever.features(question, frozenset((case.question.detector,)))
            values[:, 0] = arrays["detector_cosines"][row, variant]
            values[:, 1] = arrays["detector_neighbours"][row, variant].clip(min=0)
            choice: Choice | None = None
            if letters is not None:
                names = _names(retriever.names, arrays["shortlists"][row, variant])
                options = options_for(names, known.taxonomy)
                choice = choice_of(question, options, letters[row, variant])
                values = with_choice(values, retriever.names, choice)
            found[variant].append(
                Asked(one.vendor or one.detector, values, choice, frozenset(one.answers))
            )
    return found


def _names(names: Sequence[str], numbers: Array) -> list[str]:
    return [names[int(number)] for number in numbers]


if __name__ == "__main__":
    main()

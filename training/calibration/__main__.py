"""``python -m training.calibration SCORES MODELS``: calibrators from the scores of the folds.

SCORES holds what ``training.encoder folds`` wrote and, for a model, shortlists.npy, letters.npy and
zero-shot.npy of ``training.lora``. Calibrators that are there already for the same encoder, model
and labels are left as they are: delete them where the scores alone have changed.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.folds import Folds, key_of
from mapping.evaluation.models import PARTS, choice_of, part_of
from mapping.evaluation.predictors import Known
from mapping.resolver.artifacts import digest_of
from mapping.resolver.calibrate import Array, Calibrator, CalibratorError, with_choice
from mapping.resolver.glossary import Glossary
from mapping.resolver.prompt import options_for
from mapping.resolver.retrieve import Retriever, known_labels
from mapping.resolver.types import Choice, LabelQuestion, ModelIdentity
from taxonomy.agreement import of_entry
from training.calibration.fit import Asked, fit
from training.datasets.sources import Knowledge, encoder_dataset, read_knowledge
from training.encoder.data import Dataset

VARIANTS = 2
SEVERAL = 0.9  # a label that is nearly as likely as the first is answered beside it


Pair: TypeAlias = tuple[list[Asked], list[Asked]]  # described, label alone


class Job(NamedTuple):
    """One calibrator."""

    name: str  # retrieval, or model
    part: int | None  # of the vendors, left out; None: fitted on all

    @property
    def path(self) -> Path:
        """In the folder of the models."""
        if self.part is None:
            return Path("calibrators", f"{self.name}.json")
        return Path("folds", f"{self.name}-without-{self.part}.json")


class Plan(NamedTuple):
    """What all fits share."""

    models: Path
    encoder: str
    edition: str
    dataset: Dataset
    identities: Mapping[str, ModelIdentity | None]  # by the names of jobs

    @property
    def missing(self) -> list[Job]:
        """What is to be fitted."""
        jobs = [Job(name, part) for name in self.identities for part in (None, *range(PARTS))]
        return [job for job in jobs if not self.is_done(job)]

    def is_done(self, job: Job) -> bool:
        """Whether its calibrator is there, of the same encoder, model and labels."""
        try:
            found = Calibrator.load(self.models / job.path)
        except CalibratorError:
            return False
        wanted = (self.encoder, self.edition, self.identities[job.name], self.dataset.digest)
        return (found.encoder, found.edition, found.identity, found.dataset) == wanted

    def fit(self, job: Job, asked: Pair) -> None:
        """Fit and write one."""
        described, bare = (
            fit([one for one in both if part_of(one.group) != job.part], list(self.dataset.texts))
            for both in asked
        )
        made = Calibrator(
            self.encoder, self.edition, self.identities[job.name], described, bare, SEVERAL,
            self.dataset.digest,
        )  # fmt: skip
        path = self.models / job.path
        path.parent.mkdir(exist_ok=True)
        made.save(path)


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
    parser.add_argument("--workers", type=int, default=2, help="fits at once")
    options = parser.parse_args()
    knowledge = read_knowledge(options.directory, options.edition)
    plan = plan_of(knowledge, options.models, options.edition, options.identity)
    arrays = _kept(options.scores, plan)
    started = time.monotonic()
    for name, identity in plan.identities.items():
        jobs = [job for job in plan.missing if job.name == name]
        if not jobs:
            continue
        asked = questions(
            Known(knowledge.taxonomy, knowledge.detectors), plan.dataset, arrays,
            None if identity is None else arrays["letters"], Glossary.load(options.models),
        )  # fmt: skip
        # Forked, so that the questions are not copied.
        context = get_context("fork")
        with ProcessPoolExecutor(options.workers, context, _begin, (plan, asked)) as pool:
            for job in pool.map(_fit, jobs):
                print(f"{job.path}: {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201


def plan_of(knowledge: Knowledge, models: Path, edition: str, identity: Path | None = None) -> Plan:
    """For the encoder and glossary in `models`. `identity`: JSON file of the model."""
    identities: dict[str, ModelIdentity | None] = {"retrieval": None}
    if identity is not None:
        identities["model"] = ModelIdentity(**json.loads(identity.read_text("utf-8")))
    return Plan(models, digest_of(models), edition, encoder_dataset(knowledge), identities)


_BEGUN: list[tuple[Plan, Pair]] = []  # what this process was begun with


def _begin(plan: Plan, asked: Pair) -> None:
    _BEGUN.append((plan, asked))


def _fit(job: Job) -> Job:
    plan, asked = _BEGUN[-1]
    plan.fit(job, asked)
    return job


def _kept(scores: Path, plan: Plan) -> dict[str, Array]:
    """The scores, rounded, as evaluations will read them."""
    keys = [key_of(one.detector, one.label) for one in plan.dataset.examples]
    path = plan.models / "folds" / "folds.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    Folds(list(plan.dataset.texts), keys, _arrays(scores)).save(path)
    return dict(Folds.load(path).arrays)


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
) -> Pair:
    """Every label, described and alone, as models saw it that did not know its detector."""
    retriever = Retriever(
        known.taxonomy, known_labels(known.detectors.values(), of_entry), None, glossary
    )
    found: Pair = ([], [])
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

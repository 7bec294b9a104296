"""What a run reads and shares: the data set, its folds, pools of near answers, shortlists."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mapping.resolver.types import LabelQuestion
from training.encoder import data
from training.encoder.data import Dataset, Example
from training.lora.folds import FOLDS, fold_of
from training.routes.base import Array, Lessons

VARIANTS = ("described", "label alone")


class Material:
    """Of the folder DATA, with dataset.json and taxonomy.json.

    `extra`: a file of further examples (spellings, synthetic ones), in the form of dataset.json's
    or one JSON object a line. They are learnt from where their vendor is not held out, and never
    scored. ValueError for one whose answer is not known.
    """

    def __init__(self, folder: Path, extra: Path | None = None) -> None:
        self.dataset: Dataset = data.read(folder / "dataset.json")
        self.taxonomy: dict[str, Any] = json.loads((folder / "taxonomy.json").read_text("utf-8"))
        self.names = tuple(self.dataset.texts)
        self.extra = _extra(extra, self.names) if extra else []
        self.learnt = [*self.dataset.examples, *self.dataset.always, *self.extra]

    def rows(self, fold: int) -> list[int]:
        """Rows of the data set's examples that the fold holds out."""
        return [row for row, one in enumerate(self.dataset.examples) if fold_of(one) == fold]

    def lessons(self, fold: int, pools: Array) -> Lessons:
        """All that a route of this fold may see. `pools`: a row for each of `learnt`."""
        scored = len(self.dataset.examples)
        always = range(scored, scored + len(self.dataset.always))
        kept = [row for row, one in enumerate(self.learnt) if row in always or fold_of(one) != fold]
        return Lessons(
            [self.learnt[row] for row in kept], pools[kept], self.dataset.texts, self.taxonomy
        )

    def questions(self, rows: Sequence[int], variant: int) -> list[LabelQuestion]:
        """As they are asked: the detector's category is known."""
        examples = [self.dataset.examples[row] for row in rows]
        return [question_of(one, described=not variant) for one in examples]

    def groups(self) -> list[str]:
        """Of each example what is held out together: its vendor, or else its detector."""
        return [one.vendor or one.detector for one in self.dataset.examples]


def question_of(example: Example, *, described: bool) -> LabelQuestion:
    """As it is asked in an evaluation: the detector's category is known."""
    description = example.description if described else ""
    return LabelQuestion(example.detector, example.label, description, example.category)


def all_folds(count: int) -> list[int]:
    """The first `count` folds. ValueError for none, or for more than there are."""
    if not 0 < count <= FOLDS:
        raise ValueError(f"--folds {count}: there are {FOLDS}, the same as the adapter's.")
    return list(range(count))


def near_first(cosines: Array) -> Array:
    """Pools: numbers of the answers by falling cosine, 16 bits."""
    return np.argsort(-cosines, axis=1, kind="stable").astype(np.int16)


def shortlists_of(cosines: Array, neighbours: Array | None, width: int) -> Array:
    """The nearest answers, as the resolver takes them (mapping.resolver.resolver.shortlist)."""
    nearness = cosines if neighbours is None else cosines + neighbours.clip(min=0) / 2
    return np.argsort(-nearness, axis=-1, kind="stable")[..., :width].astype(np.int16)


def _extra(path: Path, names: Sequence[str]) -> list[Example]:
    text = path.read_text("utf-8")
    whole = text.lstrip().startswith("[") or path.suffix == ".json"
    content = json.loads(text) if whole else [json.loads(line) for line in text.splitlines()]
    if isinstance(content, dict):
        content = content["examples"]
    found = [
        Example(**(one | {name: tuple(one[name]) for name in ("aliases", "answers")}))
        for one in content
    ]
    unknown = {name for one in found for name in one.answers} - set(names)
    if unknown:
        raise ValueError(f"{path.name}: {sorted(unknown)[0]!r} is no answer of the data set.")
    return found

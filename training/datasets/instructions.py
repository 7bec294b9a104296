"""From labels to samples: the prompt as it is served, its options, and the letters that are right.

Learnt from are several variations of each label, with other options each time; an epoch takes one
of them. Validated and tested is one deterministic prompt for the label with its description and
one for the label alone, with the options that the service would offer if it had never seen the
vendor.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mapping.engine.propose import spelling
from mapping.evaluation.folds import Folds, key_of
from mapping.evaluation.strata import is_opaque
from mapping.resolver.lexical import LexicalIndex
from mapping.resolver.prompt import build_prompt, options_for
from mapping.resolver.resolver import SHORTLIST
from mapping.resolver.retrieve import Array
from mapping.resolver.texts import DESCRIPTION_CHARS
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion
from training.datasets.sources import Item
from training.datasets.spellings import Known, respell
from training.encoder.data import Example
from training.lora.samples import draw_options, right_letters

Row = dict[str, Any]
_LEAST: Final = 1e-6
_SCORES: Final = ("vendor_cosines", "vendor_neighbours")


@dataclass(frozen=True, slots=True)
class Drawing:
    """How questions are varied when they are learnt from. Shares are 0 to 1."""

    variations: int = 4
    shortlist: int = SHORTLIST
    label_alone: float = 0.4  # without the description
    without_category: float = 0.5
    without_answer: float = 0.12  # the right label is not offered
    respelled: float = 0.6  # of variations but the first
    siblings: float = 0.5  # with a label of the right one's branch among the options
    lexical: float = 0.25  # options by likeness of letters in place of meaning
    reach: float = 8.0  # mean number of ranks by which the options are shuffled


class Nearness:
    """All answers in order of their nearness to a label.

    By encoders that saw none of the vendor's labels where there are scores of such (`folds`), as
    the service shortlists. Labels that were never scored (invented ones, aliases) take the mean
    scores of the labels of `learnt` with the same answer, so that what they are mistaken for is
    offered, and likeness of letters to the taxonomy's own texts.
    """

    def __init__(
        self,
        taxonomy: Mapping[str, Any],
        names: Sequence[str],
        folds: Folds | None,
        learnt: Iterable[Example] = (),
    ) -> None:
        self.names = tuple(names)
        self._folds = folds if folds is not None and self._fits(folds) else None
        index = LexicalIndex(taxonomy)
        number = {name: place for place, name in enumerate(self.names)}
        pairs = [
            (index.add(text), number[name]) for name, text in index.labels.items() if name in number
        ]
        self._index = index
        self._texts = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        self._lexical: dict[tuple[str, str], Array] = {}
        self._means = self._mean_scores(learnt)

    def _fits(self, folds: Folds) -> bool:
        return folds.names == self.names and all(name in folds for name in _SCORES)

    @property
    def scored(self) -> bool:
        """Whether there are scores of held-out encoders."""
        return self._folds is not None

    def of(self, one: Example, source: str, described: bool) -> tuple[str, ...]:
        """By scores, else by those of labels alike. `source`: the label as it was scored."""
        found = self._scores(one.detector, source, described)
        if found is None:
            found = self._letters(one, described) / 2
            found = found + sum(self._means.get(name, 0.0) for name in one.answers)
        return self._ordered(found)

    def lexical(self, one: Example, described: bool) -> tuple[str, ...]:
        """By likeness of letters alone."""
        return self._ordered(self._letters(one, described))

    def _letters(self, one: Example, described: bool) -> Array:
        key = (one.label, one.description if described else "")
        if key not in self._lexical:
            # Answers that are like it in nothing stand in an order of chance, not of the alphabet.
            seed = int.from_bytes(hashlib.sha256("/".join(key).encode()).digest()[:8])
            scores = np.random.default_rng(seed).random(len(self.names)) * _LEAST
            cosines = self._index.cosines(key[0], key[1][:DESCRIPTION_CHARS])
            scores[self._texts[:, 1]] += cosines[self._texts[:, 0]]
            self._lexical[key] = scores
        return self._lexical[key]

    def _scores(self, detector: str, label: str, described: bool) -> Array | None:
        if self._folds is None:
            return None
        row = self._folds.row(key_of(detector, label))
        if row is None:
            return None
        cosines, near = (self._folds.arrays[name][row, 0 if described else 1] for name in _SCORES)
        found: Array = cosines + near.clip(min=0) / 2  # as mapping.resolver.resolver.shortlist
        return found

    def _mean_scores(self, learnt: Iterable[Example]) -> dict[str, Array]:
        """Mean scores of the labels that have an answer."""
        several: dict[str, list[Array]] = {}
        for one in learnt:
            scores = self._scores(one.detector, one.label, described=True)
            if scores is not None:
                for name in one.answers:
                    several.setdefault(name, []).append(scores)
        return {name: np.mean(found, axis=0) for name, found in several.items()}

    def _ordered(self, scores: Array) -> tuple[str, ...]:
        return tuple(self.names[int(place)] for place in np.argsort(-scores, kind="stable"))


class Instructor:
    """Makes the samples of items."""

    def __init__(
        self,
        taxonomy: Mapping[str, Any],
        nearness: Nearness,
        known: Known,
        drawing: Drawing,
        seed: int,
    ) -> None:
        self._taxonomy = taxonomy
        self._nearness = nearness
        self._known = known
        self._drawing = drawing
        self._seed = seed

    def learnt(self, item: Item) -> Iterator[Row]:
        """Its variations, the first with the label as it is; one of a label of the glossary."""
        for variation in range(1 if item.kind == "glossary" else self._drawing.variations):
            identity = f"{item.kind}/{item.example.detector}/{item.example.label}#{variation}"
            text = f"{self._seed}/{identity}/{item.example.description}"
            chance = random.Random(text)  # noqa: S311 - repeatable on purpose
            asked, described = self._question(item, variation, chance)
            if described or not self._says_nothing(item.example):
                shortlist = self._draw(item, described, chance)
                yield self._row(item, identity, variation, asked, shortlist)

    def tested(self, item: Item) -> Iterator[Row]:
        """As the service would ask: with the description if there is one, and the label alone."""
        one = item.example
        for variation, name in enumerate(("described", "alone")):
            described = name == "described"
            if described and not one.description:
                continue
            identity = f"{item.kind}/{one.detector}/{one.label}#{name}"
            description = one.description if described else ""
            asked = LabelQuestion(one.detector, one.label, description, one.category)
            shortlist = self._nearness.of(one, item.source, described)[:SHORTLIST]
            yield self._row(item, identity, variation, asked, shortlist)

    def _question(
        self, item: Item, variation: int, chance: random.Random
    ) -> tuple[LabelQuestion, bool]:
        drawing, one = self._drawing, item.example
        label = one.label
        if variation:
            label = chance.choice((one.label, *one.aliases))
            if chance.random() < drawing.respelled:
                label = respell(label, one, self._known, chance)
        # A code without its description could be learnt by heart only.
        alone = chance.random() < drawing.label_alone and not self._says_nothing(one)
        described = bool(one.description) and not alone
        category = "" if chance.random() < drawing.without_category else one.category
        description = one.description if described else ""
        return LabelQuestion(one.detector, label, description, category), described

    def _says_nothing(self, one: Example) -> bool:
        """Whether the label alone is a code.

        What the taxonomy itself has as a name (`ip`) is none, nor is a sign for no finding (`O`).
        """
        outcome = not {NOT_A_FINDING, NONE_OF_THESE}.isdisjoint(one.answers)
        sign = outcome and not any(map(str.isdigit, one.label))
        named = ("taxonomy", spelling(one.label)) in self._known.own
        return is_opaque(one.label) and not sign and not named

    def _draw(self, item: Item, described: bool, chance: random.Random) -> list[str]:
        """Options as the service would find them, more or less; the right ones mostly there."""
        drawing, one = self._drawing, item.example
        lexical = chance.random() < drawing.lexical
        ranked = (
            self._nearness.lexical(one, described)
            if lexical
            else self._nearness.of(one, item.source, described)
        )
        return draw_options(
            ranked,
            one.answers,
            chance,
            shortlist=drawing.shortlist,
            reach=drawing.reach,
            siblings=drawing.siblings,
            without_answer=drawing.without_answer,
        )

    def _row(
        self,
        item: Item,
        identity: str,
        variation: int,
        asked: LabelQuestion,
        shortlist: Sequence[str],
    ) -> Row:
        prompt = build_prompt(asked, options_for(shortlist, self._taxonomy))
        letters = right_letters(prompt, item.example.answers)
        return {
            "id": identity,
            "kind": item.kind,
            "detector": asked.detector,
            "vendor": item.example.vendor,
            "category": asked.category,
            "label": asked.label,
            "description": asked.description,
            "source": item.source,
            "answers": list(item.example.answers),
            "variation": variation,
            "prompt": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "completion": [{"role": "assistant", "content": letters[variation % len(letters)]}],
            "names": list(prompt.names),
            "letters": list(letters),
        }

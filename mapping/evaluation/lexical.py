"""Lexical retrieval alone, as a baseline: see mapping.resolver.lexical."""

import heapq
from typing import Final, NamedTuple

import numpy as np

from mapping.evaluation.cases import Question
from mapping.evaluation.predictors import (
    Known,
    Names,
    Prediction,
    Vote,
    merge,
    source_labels,
)
from mapping.resolver.lexical import Bag, LexicalIndex, bag

_RANKED: Final = 5
_ENOUGH: Final = 60  # nearest texts to keep for a question; the rest is worked out when needed


class _Text(NamedTuple):
    """A text that is searched, and what is answered where it is the nearest."""

    answer: tuple[str, ...]
    owners: Names  # detectors that say so; empty for the taxonomy


class LexicalPredictor:
    """Answers with the nearest text: of the taxonomy and, with `examples`, of the other files.

    A text of the taxonomy is a label's name, aliases and meaning; one of a file is a label, its
    aliases and its meaning. How rare an n-gram is, is counted in the taxonomy alone, so that
    nothing of a held-out file can show. Confidence is the cosine: no probability.
    """

    def __init__(self, known: Known, *, examples: bool) -> None:
        self._index = LexicalIndex(known.taxonomy)
        self._texts: list[_Text] = []
        self._cache: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for name, text in self._index.labels.items():
            self._add(_Text((name,), frozenset()), text)
        self._method = "examples" if examples else "lexical"
        if examples:
            self._add_examples(known)

    def _add_examples(self, known: Known) -> None:
        owners: dict[tuple[tuple[str, ...], str, tuple[str, ...]], set[str]] = {}
        for one in known.examples:
            key = ((one.label, *one.aliases), one.meaning, one.answer)
            owners.setdefault(key, set()).add(one.detector)
        for (names, meaning, answer), detectors in owners.items():
            self._add(_Text(answer, frozenset(detectors)), bag(names, meaning))

    def _add(self, text: _Text, words: Bag) -> None:
        self._texts.append(text)
        self._index.add(words)

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        labels = source_labels(question.output)
        description = question.description if len(labels) == 1 else ""
        return merge(question, [self._vote(label, description, held_out) for label in labels])

    def _vote(self, label: str, description: str, held_out: Names) -> Vote | None:
        key = (label, description)
        if key not in self._cache:
            self._cache[key] = self._near(label, description, _ENOUGH)
        ranking, nearest = self._rank(self._cache[key], held_out)
        if len(ranking) < _RANKED and len(self._cache[key]) == _ENOUGH:
            ranking, nearest = self._rank(self._near(label, description, None), held_out)
        if not nearest:
            return None
        return Vote(nearest, ranking[nearest[0]], self._method, tuple(ranking.items()))

    def _near(self, label: str, description: str, count: int | None) -> list[tuple[int, float]]:
        """The `count` nearest texts (all: None) with their cosines.

        Of texts equally near, the taxonomy's come first, then those of the first file.
        """
        scores = self._index.cosines(label, description)
        pairs = ((-round(float(scores[n]), 9), int(n)) for n in np.flatnonzero(scores))
        best = heapq.nsmallest(len(scores) if count is None else count, pairs)
        return [(number, -score) for score, number in best]

    def _rank(
        self, near: list[tuple[int, float]], held_out: Names
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Labels by their nearest text that may be seen, and the answer of the nearest of all."""
        ranking: dict[str, float] = {}
        nearest: tuple[str, ...] = ()
        for number, score in near:
            text = self._texts[number]
            if text.owners and text.owners <= held_out:
                continue
            nearest = nearest or text.answer
            for canonical in text.answer:
                ranking.setdefault(canonical, score)
            if len(ranking) >= _RANKED:
                break
        return ranking, nearest

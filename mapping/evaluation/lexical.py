"""Lexical retrieval: cosine of TF-IDF vectors of character n-grams (Salton and Buckley 1988).

N-grams of 3 to 5 characters are taken inside words, their ends marked, so that plurals, compounds
and other spellings of one word are near each other (Cavnar and Trenkle 1994).
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from mapping.engine.propose import words
from mapping.evaluation.cases import Question
from mapping.evaluation.predictors import (
    Known,
    Names,
    Prediction,
    Vote,
    merge,
    source_labels,
)

_SIZES: Final = (3, 4, 5)
_NAME_WEIGHT: Final = 2.0  # as in mapping.engine.propose
# An n-gram that stands in more of the taxonomy's texts than this share tells little and costs most.
_MOST_TEXTS: Final = 0.2
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
        canonical = {
            name: _bag((name, *entry["aliases"]), entry["meaning"])
            for name, entry in known.taxonomy["labels"].items()
        }
        frequency = Counter(gram for bag in canonical.values() for gram in bag)
        total = len(canonical)
        self._idf = {
            gram: math.log((1 + total) / (1 + count)) + 1 if count <= _MOST_TEXTS * total else 0.0
            for gram, count in frequency.items()
        }
        self._unseen = math.log(1 + total) + 1
        self._texts: list[_Text] = []
        self._cache: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._index: dict[str, list[tuple[int, float]]] = {}
        for name, bag in canonical.items():
            self._add(_Text((name,), frozenset()), bag)
        self._method = "examples" if examples else "lexical"
        if examples:
            self._add_examples(known)

    def _add_examples(self, known: Known) -> None:
        owners: dict[tuple[tuple[str, ...], str, tuple[str, ...]], set[str]] = {}
        for one in known.examples:
            key = ((one.label, *one.aliases), one.meaning, one.answer)
            owners.setdefault(key, set()).add(one.detector)
        for (names, meaning, answer), detectors in owners.items():
            self._add(_Text(answer, frozenset(detectors)), _bag(names, meaning))

    def _add(self, text: _Text, bag: Mapping[str, float]) -> None:
        number = len(self._texts)
        self._texts.append(text)
        for gram, weight in self._vector(bag).items():
            self._index.setdefault(gram, []).append((number, weight))

    def _vector(self, bag: Mapping[str, float]) -> dict[str, float]:
        """Unit vector of TF-IDF weights."""
        weights = {
            gram: count * idf
            for gram, count in bag.items()
            if (idf := self._idf.get(gram, self._unseen))
        }
        norm = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
        return {gram: weight / norm for gram, weight in weights.items()} if norm else {}

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
        scores: dict[int, float] = {}
        for gram, weight in self._vector(_bag((label,), description)).items():
            for number, other in self._index.get(gram, ()):
                scores[number] = scores.get(number, 0.0) + weight * other
        pairs = ((-round(score, 9), number) for number, score in scores.items())
        best = heapq.nsmallest(len(scores) if count is None else count, pairs)
        return [(number, min(-score, 1.0)) for score, number in best]

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


def _bag(names: Iterable[str], meaning: str) -> dict[str, float]:
    """N-grams with their counts; those of names and aliases count double."""
    bag: dict[str, float] = {}
    for text, weight in (*((name, _NAME_WEIGHT) for name in names), (meaning, 1.0)):
        for word in words(text):
            for gram in _grams(word):
                bag[gram] = bag.get(gram, 0.0) + weight
    return bag


@lru_cache(maxsize=20_000)
def _grams(word: str) -> tuple[str, ...]:
    """N-grams of a word: ` word ` with its ends marked by a space; short words are kept whole."""
    padded = f" {word} "
    found = [
        padded[start : start + size] for size in _SIZES for start in range(len(padded) - size + 1)
    ]
    return tuple(found) or (padded,)

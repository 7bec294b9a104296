"""Lexical likeness: cosine of TF-IDF vectors of character n-grams (Salton and Buckley 1988).

N-grams of 3 to 5 characters are taken inside words, their ends marked, so that plurals, compounds
and other spellings of one word are near each other (Cavnar and Trenkle 1994).
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Self

import numpy as np

from mapping.engine.propose import words

_SIZES: Final = (3, 4, 5)
NAME_WEIGHT: Final = 2.0  # as in mapping.engine.propose
# An n-gram that stands in more of the taxonomy's texts than this share tells little and costs most.
_MOST_TEXTS: Final = 0.2

Bag = Mapping[str, float]
Array = np.ndarray[Any, Any]


class Rarity:
    """What n-grams weigh: the rarer one is, the more (inverse document frequency)."""

    def __init__(self, known: Mapping[str, float], unseen: float) -> None:
        """`known`: weights by n-gram; `unseen`: of every other one."""
        self.known = known
        self.unseen = unseen

    @classmethod
    def counted(cls, texts: Collection[Bag]) -> Self:
        """As rare as in these texts."""
        frequency = Counter(gram for one in texts for gram in one)
        total = len(texts)
        known = {
            gram: math.log((1 + total) / (1 + count)) + 1 if count <= _MOST_TEXTS * total else 0.0
            for gram, count in frequency.items()
        }
        return cls(known, math.log(1 + total) + 1)

    def of(self, gram: str) -> float:
        """Weight of an n-gram; 0: it tells nothing."""
        return self.known.get(gram, self.unseen)

    def norm(self, text: Bag) -> float:
        """Length of a text's vector of TF-IDF weights."""
        return _length(self._weights(text))

    def vector(self, text: Bag) -> dict[str, float]:
        """Unit vector of TF-IDF weights; empty if nothing in the text tells anything."""
        weights = self._weights(text)
        norm = _length(weights)
        return {gram: weight / norm for gram, weight in weights.items()} if norm else {}

    def _weights(self, text: Bag) -> dict[str, float]:
        return {gram: count * idf for gram, count in text.items() if (idf := self.of(gram))}


def _length(weights: Bag) -> float:
    return math.sqrt(math.fsum(weight * weight for weight in weights.values()))


class LexicalIndex:
    """Texts that are searched. How rare an n-gram is, is counted in the taxonomy alone.

    So nothing of a detector's file, which may be held out, can show.
    """

    def __init__(self, taxonomy: Mapping[str, Any]) -> None:
        """`taxonomy`: the parsed file of an edition. Holds no text yet: see `add`."""
        self.labels = {
            name: bag((name, *entry["aliases"]), entry["meaning"])
            for name, entry in taxonomy["labels"].items()
        }
        self.rarity = Rarity.counted(self.labels.values())
        # N-gram -> numbers of the texts that have it, and their weights.
        self._index: dict[str, tuple[list[int], list[float]]] = {}
        self._packed: dict[str, tuple[Array, Array]] = {}
        self._size = 0

    def add(self, text: Bag) -> int:
        """Take a text in; its number."""
        number = self._size
        self._size += 1
        for gram, weight in self.rarity.vector(text).items():
            numbers, weights = self._index.setdefault(gram, ([], []))
            numbers.append(number)
            weights.append(weight)
        return number

    def cosines(self, label: str, description: str) -> Array:
        """Cosine of every text, in the order in which they were added. Add none afterwards."""
        scores = np.zeros(self._size)
        for gram, weight in self.rarity.vector(bag((label,), description)).items():
            packed = self._packed.get(gram)
            if packed is None:
                if gram not in self._index:
                    continue
                numbers, weights = self._index[gram]
                packed = (np.array(numbers), np.array(weights))
                self._packed[gram] = packed
            scores[packed[0]] += weight * packed[1]
        return np.minimum(scores, 1.0)


def bag(names: Iterable[str], meaning: str) -> dict[str, float]:
    """N-grams with their counts; those of names and aliases count double."""
    found: dict[str, float] = {}
    for text, weight in (*((name, NAME_WEIGHT) for name in names), (meaning, 1.0)):
        for word in words(text):
            for gram in grams_of(word):
                found[gram] = found.get(gram, 0.0) + weight
    return found


def grams_of(word: str) -> tuple[str, ...]:
    """N-grams of a word: ` word ` with its ends marked by a space; short words are kept whole."""
    padded = f" {word} "
    found = [
        padded[start : start + size] for size in _SIZES for start in range(len(padded) - size + 1)
    ]
    return tuple(found) or (padded,)

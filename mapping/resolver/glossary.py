"""The glossary as retrieval reads it: how near a label is, by its letters, to invented ones.

Its entries are labels as other tools might have them, with descriptions, and their answers (see
training.datasets.written). Likeness is that of `lexical`, n-grams weighed as in the edition that
the file was made for. Entries share their words, so words are kept in place of n-grams: an entry's
dot product with a label is the sum of its words' dot products, and the file is a tenth of the size.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from mapping.engine.propose import words
from mapping.resolver.lexical import NAME_WEIGHT, Rarity, bag, grams_of

FILE: Final = "glossary.npz"
Array = np.ndarray[Any, Any]


class GlossaryError(ValueError):
    """The file cannot be used. The message says what to do."""


class Entry(NamedTuple):
    """A label that a tool might have."""

    label: str
    description: str
    answers: tuple[str, ...]


class Glossary:
    """Immutable, thread-safe."""

    def __init__(self, content: Mapping[str, Array], digest: str) -> None:
        """`content`: see `packed`. `digest`: SHA-256 of the file."""
        self.digest = digest
        self.names: tuple[str, ...] = tuple(map(str, content["names"]))
        self._rarity = Rarity(
            dict(zip(map(str, content["grams"]), map(float, content["rarity"]), strict=True)),
            float(content["unseen"]),
        )
        self._spelled = [str(word) for word in content["words"]]
        self._by_gram = self._grams()
        # Of entry after entry, and of these answer after answer.
        self._members = content["members"].astype(np.intp)
        self._counts = content["counts"].astype(np.float32)
        self._starts = content["starts"].astype(np.intp)
        self._norms = content["norms"].astype(np.float32)
        self._first = content["first"].astype(np.intp)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From the folder of the models. Raises GlossaryError if it is missing or damaged."""
        try:
            raw = (folder / FILE).read_bytes()
            with np.load(io.BytesIO(raw), allow_pickle=False) as content:
                return cls(dict(content), hashlib.sha256(raw).hexdigest())
        except Exception as error:  # noqa: BLE001 - numpy and zipfile raise many kinds
            raise GlossaryError(
                f"{FILE}: no glossary ({type(error).__name__}). Install Pillars anew, or make one "
                "with `python -m training.encoder glossary`."
            ) from None

    def likeness(self, label: str, description: str) -> Array:
        """The highest cosine with an entry of each answer, in the order of `names`."""
        by_word = np.zeros(len(self._spelled), dtype=np.float32)
        for gram, weight in self._rarity.vector(bag((label,), description)).items():
            found = self._by_gram.get(gram)
            if found is not None:
                by_word[found[0]] += np.float32(weight) * found[1]
        dots = np.add.reduceat(by_word[self._members] * self._counts, self._starts)
        best: Array = np.maximum.reduceat(np.minimum(dots / self._norms, 1.0), self._first)
        return best

    def _grams(self) -> dict[str, tuple[Array, Array]]:
        """Which words have an n-gram, and what it weighs in each."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for number, word in enumerate(self._spelled):
            for gram, count in Counter(grams_of(word)).items():
                if rarity := self._rarity.of(gram):
                    numbers, weights = found.setdefault(gram, ([], []))
                    numbers.append(number)
                    weights.append(count * rarity)
        return {
            gram: (np.array(numbers, np.intp), np.array(weights, np.float32))
            for gram, (numbers, weights) in found.items()
        }


def packed(entries: Iterable[Entry], rarity: Rarity) -> dict[str, Array]:
    """What the file holds. Entries without any word that tells something are left out.

    An entry with two answers stands there twice; entries are in the order of their answers.
    """
    rows = sorted(
        (answer, _counted(entry), norm)
        for entry in entries
        if (norm := rarity.norm(bag((entry.label,), entry.description)))
        for answer in entry.answers
    )
    answers = [answer for answer, _, _ in rows]
    names = sorted(set(answers))
    spelled = sorted({word for _, counts, _ in rows for word, _ in counts})
    number = {word: at for at, word in enumerate(spelled)}
    lengths = [len(counts) for _, counts, _ in rows]
    return {
        "names": np.array(names),
        "first": np.searchsorted(answers, names).astype(np.int32),
        "starts": _starts(lengths),
        "members": np.array([number[w] for _, c, _ in rows for w, _ in c], dtype=np.uint16),
        "counts": np.array([count for _, c, _ in rows for _, count in c], dtype=np.uint8),
        "norms": np.array([norm for _, _, norm in rows], dtype=np.float32),
        "words": np.array(spelled),
        "grams": np.array(list(rarity.known)),
        "rarity": np.array(list(rarity.known.values()), dtype=np.float32),
        "unseen": np.array(rarity.unseen, dtype=np.float32),
    }


def save(folder: Path, content: Mapping[str, Array]) -> None:
    """Into the folder of the models: the same bytes for the same entries."""
    arrays: dict[str, Any] = dict(content)
    np.savez_compressed(folder / FILE, **arrays)


def _counted(entry: Entry) -> list[tuple[str, int]]:
    """Words with their counts; those of the label count double, as in `lexical.bag`."""
    counts: Counter[str] = Counter()
    for text, weight in ((entry.label, int(NAME_WEIGHT)), (entry.description, 1)):
        for word in words(text):
            counts[word] += weight
    return sorted(counts.items())


def _starts(lengths: Sequence[int]) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)

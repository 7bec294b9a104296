"""Retrieval: how near every canonical label is to a vendor's label, in several ways.

What the ways are worth is learnt later (see combine); nothing is decided here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from mapping.engine.propose import spelling
from mapping.engine.types import SAFE, UNKNOWN
from mapping.resolver.glossary import Glossary
from mapping.resolver.lexical import LexicalIndex, bag
from mapping.resolver.texts import DESCRIPTION_CHARS, candidates, query_text
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion

Array = np.ndarray[Any, Any]
Names = frozenset[str]
FEATURES: Final = (
    "cosine with the label's text",
    "highest cosine with an example of the label",
    "lexical cosine with the label's text",
    "highest lexical cosine with an example of the label",
    "the vendor's label is a name or alias of the label",
    "share of other detectors' files that map this spelling to the label",
    "highest lexical cosine with an entry of the glossary",
    "no finding",
    "none of these",
    "an Other label",
)
_WRITTEN: Final = FEATURES.index("highest lexical cosine with an entry of the glossary")
_FIXED: Final = FEATURES.index("no finding")  # this and those after it know the answer alone
_SAME: Final = {SAFE: NOT_A_FINDING, UNKNOWN: NONE_OF_THESE, "unmapped": NONE_OF_THESE}


class KnownLabel(NamedTuple):
    """A label that a detector file or an approved decision maps."""

    detector: str
    label: str
    aliases: tuple[str, ...]
    description: str
    category: str
    answers: tuple[str, ...]


class Encoder(Protocol):
    """See encoder.SentenceEncoder."""

    def encode(self, texts: Sequence[str], *, keep: bool = False) -> Array:
        """Unit vectors, one a text."""
        ...


class Retriever:
    """Knows one edition of the taxonomy and the labels that are mapped. Immutable, thread-safe."""

    def __init__(
        self,
        taxonomy: Mapping[str, Any],
        known: Iterable[KnownLabel],
        encoder: Encoder | None,
        glossary: Glossary | None,
    ) -> None:
        """Without an encoder its features are 0: for evaluations that bring them along.

        Without a glossary its feature is 0: for comparisons that do without.
        """
        texts = candidates(taxonomy)
        self.names = tuple(texts)
        self._number = {name: number for number, name in enumerate(self.names)}
        self._encoder = encoder
        self._known = list(known)
        self._index = LexicalIndex(taxonomy)
        self._glossary = glossary
        # Which number of the glossary's answers is which of ours.
        self._written = _pairs(
            [
                (number, self._number[name])
                for number, name in enumerate(glossary.names if glossary else ())
                if name in self._number
            ]
        )
        self._owners: list[Names] = []  # of each text of the index; empty for the taxonomy's
        # Which text speaks for which answer, as two columns: of the taxonomy, of examples.
        self._of_labels, self._of_examples = self._add_texts()
        self._named = _names(taxonomy)
        self._spelled: dict[str, list[KnownLabel]] = {}
        for one in self._known:
            for text in {spelling(text) for text in (one.label, *one.aliases)} - {""}:
                self._spelled.setdefault(text, []).append(one)
        self._fixed = np.array(
            [
                (name == NOT_A_FINDING, name == NONE_OF_THESE, name.endswith(".Other"))
                for name in self.names
            ],
            dtype=np.float32,
        )
        if encoder is not None:
            self._vectors = encoder.encode(list(texts.values()), keep=True)
            # There may be none: of the first detector's labels, before its file is there.
            self._examples = (
                encoder.encode([text_of(one) for one in self._known], keep=True)
                if self._known
                else self._vectors[:0]
            )
            self._members = _pairs(
                [
                    (row, self._number[name])
                    for row, one in enumerate(self._known)
                    for name in one.answers
                    if name in self._number
                ]
            )

    def _add_texts(self) -> tuple[Array, Array]:
        own, other = [], []
        for name, words in self._index.labels.items():
            text = self._index.add(words)
            self._owners.append(frozenset())
            number = self._number.get(_SAME.get(name, name))
            if number is not None:
                own.append((text, number))
        owners: dict[tuple[tuple[str, ...], str, tuple[str, ...]], set[str]] = {}
        for one in self._known:
            key = ((one.label, *one.aliases), one.description, one.answers)
            owners.setdefault(key, set()).add(one.detector)
        for (names, description, answers), detectors in owners.items():
            text = self._index.add(bag(names, description))
            self._owners.append(frozenset(detectors))
            other += [(text, self._number[name]) for name in answers if name in self._number]
        return _pairs(own), _pairs(other)

    def features(self, question: LabelQuestion, held_out: Names = frozenset()) -> Array:
        """Labels x FEATURES. `held_out`: detectors whose files are as if they did not exist."""
        found = np.zeros((len(self.names), len(FEATURES)), dtype=np.float32)
        found[:, _FIXED:] = self._fixed
        if self._encoder is not None:
            self._dense(found, question, held_out)
        self._lexical(found, question, held_out)
        self._spellings(found, question, held_out)
        self._by_glossary(found, question)
        return found

    def _dense(self, found: Array, question: LabelQuestion, held_out: Names) -> None:
        assert self._encoder is not None  # noqa: S101 - the caller has looked
        vector = self._encoder.encode([query_text(question)])[0]
        found[:, 0] = self._vectors @ vector
        near = self._examples @ vector
        if held_out:
            near = np.where([one.detector in held_out for one in self._known], 0.0, near)
        np.maximum.at(found[:, 1], self._members[:, 1], near[self._members[:, 0]])

    def _lexical(self, found: Array, question: LabelQuestion, held_out: Names) -> None:
        cosines = self._index.cosines(question.label, question.description[:DESCRIPTION_CHARS])
        if held_out:
            hidden = [bool(owners) and owners <= held_out for owners in self._owners]
            cosines = np.where(hidden, 0.0, cosines)
        for column, pairs in ((2, self._of_labels), (3, self._of_examples)):
            np.maximum.at(found[:, column], pairs[:, 1], cosines[pairs[:, 0]])

    def _spellings(self, found: Array, question: LabelQuestion, held_out: Names) -> None:
        text = spelling(question.label)
        name = self._named.get(text)
        if name is not None and name in self._number:
            found[self._number[name], 4] = 1.0
        by_file = {
            one.detector: one.answers
            for one in reversed(self._spelled.get(text, []))
            if one.detector not in held_out
        }
        votes = Counter(name for answers in by_file.values() for name in answers)
        for name, count in votes.items():
            if name in self._number:
                found[self._number[name], 5] = count / len(by_file)

    def _by_glossary(self, found: Array, question: LabelQuestion) -> None:
        """Nothing is held out: entries that a detector file has are not in the glossary."""
        if self._glossary is not None:
            description = question.description[:DESCRIPTION_CHARS]
            near = self._glossary.likeness(question.label, description)
            found[self._written[:, 1], _WRITTEN] = near[self._written[:, 0]]


def _pairs(numbers: Sequence[tuple[int, int]]) -> Array:
    return np.array(numbers, dtype=np.intp).reshape(-1, 2)


def text_of(one: KnownLabel) -> str:
    """What stands for a known label among the texts of the encoder."""
    return query_text(LabelQuestion(one.detector, one.label, one.description, one.category))


def known_labels(
    detectors: Iterable[Mapping[str, Any]], answers_of: Callable[[dict[str, Any]], Sequence[str]]
) -> list[KnownLabel]:
    """Every label of parsed detector files. `answers_of` reads an entry's answer."""
    return [
        KnownLabel(
            file["detector"],
            str(label),
            tuple(entry.get("aliases", ())),
            str(entry.get("meaning", "")),
            str(file.get("category") or ""),
            tuple(dict.fromkeys(_SAME.get(name, name) for name in answers)),
        )
        for file in detectors
        for label, entry in file["labels"].items()
        if (answers := answers_of(entry))
    ]


def _names(taxonomy: Mapping[str, Any]) -> dict[str, str]:
    """Labels by the spelling of name, last part (if only one label has it) and aliases."""
    labels = taxonomy["labels"]
    last = {name: name.rpartition(".")[2] for name in labels}
    times = Counter(spelling(text) for text in last.values())
    names = {
        spelling(text): name
        for name, text in last.items()
        if times[spelling(text)] == 1 and text != "Other"
    }
    names |= {spelling(alias): name for name, entry in labels.items() for alias in entry["aliases"]}
    names |= {spelling(name): name for name in labels}
    return {text: _SAME.get(name, name) for text, name in names.items() if text}

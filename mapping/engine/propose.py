"""Proposes canonical labels for a vendor's labels, each with the reason, for a person to decide.

Three ways, the surest first: the vendor's label is the name (or its last part) of a canonical
label; it is one of its aliases; or its words and those of its description are near the words of a
canonical label (cosine of TF-IDF vectors, Salton and Buckley 1988). Never used to answer requests.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from mapping.engine.vocabulary import fold

Reason: TypeAlias = Literal["exact", "alias", "lexical"]

# Less similar than this is no proposal: most of what lies below is wrong.
LEAST_SIMILARITY: Final = 0.3
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_STOP: Final = frozenset(
    (
        "a", "an", "and", "any", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it",
        "its", "no", "not", "of", "on", "or", "other", "somebody", "someone", "such", "that",
        "the", "this", "to", "what", "which", "who", "with",
    )
)  # fmt: skip
_NAME_WEIGHT: Final = 2.0  # words of a name or alias say more than those of a meaning


class Proposal(NamedTuple):
    """A canonical label for a vendor's label."""

    canonical: str
    reason: Reason
    similarity: float  # 1.0 unless the reason is lexical


class Proposer:
    """Knows one taxonomy edition. Immutable after construction."""

    def __init__(self, taxonomy: Mapping[str, Any]) -> None:
        """`taxonomy`: the parsed file of an edition. Outcomes (OTHER.*) are never proposed."""
        labels = {
            name: entry
            for name, entry in taxonomy["labels"].items()
            if not name.startswith("OTHER.")
        }
        self._exact = _names(labels)
        self._aliases = {fold(a): name for name, entry in labels.items() for a in entry["aliases"]}
        bags = {name: _bag(name, entry) for name, entry in labels.items()}
        frequency = Counter(word for bag in bags.values() for word in bag)
        self._idf = {word: math.log(1 + len(bags) / count) for word, count in frequency.items()}
        self._vectors = {name: self._vector(bag) for name, bag in bags.items()}

    def propose(self, label: str, description: str = "", limit: int = 3) -> list[Proposal]:
        """Up to `limit` proposals, the best first; none if nothing is near."""
        folded = fold(label)
        found: list[Proposal] = []
        if folded in self._exact:
            found.append(Proposal(self._exact[folded], "exact", 1.0))
        spellings = (folded, spelling(label))
        found.extend(
            Proposal(self._aliases[text], "alias", 1.0)
            for text in spellings
            if text in self._aliases
        )
        query = self._vector(Counter(dict.fromkeys(_stems(label), _NAME_WEIGHT)), description)
        scores = ((_dot(query, vector), name) for name, vector in self._vectors.items())
        near = sorted((pair for pair in scores if pair[0] >= LEAST_SIMILARITY), reverse=True)
        found += [Proposal(name, "lexical", round(score, 3)) for score, name in near]
        best: dict[str, Proposal] = {}
        for proposal in found:
            best.setdefault(proposal.canonical, proposal)
        return list(best.values())[:limit]

    def _vector(self, bag: Mapping[str, float], text: str = "") -> dict[str, float]:
        """Unit vector of TF-IDF weights; words that no canonical label has are left out."""
        weights = Counter[str]()
        for word, weight in (*bag.items(), *Counter(_stems(text)).items()):
            if word in self._idf:
                weights[word] += weight * self._idf[word]  # type: ignore[assignment]
        norm = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / norm for word, weight in weights.items()} if norm else {}


def _names(labels: Iterable[str]) -> dict[str, str]:
    """Folded full names, and last parts that only one label has."""
    labels = list(labels)
    last = Counter(fold(name.rpartition(".")[2]) for name in labels)
    names = {
        fold(name.rpartition(".")[2]): name
        for name in labels
        if last[fold(name.rpartition(".")[2])] == 1 and not name.endswith(".Other")
    }
    return names | {fold(name): name for name in labels}


def _bag(name: str, entry: Mapping[str, Any]) -> dict[str, float]:
    bag: dict[str, float] = {}
    for word in _stems(entry["meaning"]):
        bag[word] = 1.0
    for text in (name, *entry["aliases"]):
        for word in _stems(text):
            bag[word] = _NAME_WEIGHT
    return bag


def _dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return sum(weight * other.get(word, 0.0) for word, weight in one.items())


def words(text: str) -> list[str]:
    """Words of a label in any spelling: `SelfHarm/intent_2` is self, harm, intent, 2."""
    return [word.casefold() for word in _WORD.findall(text)]


def spelling(label: str) -> str:
    """A label's words joined by `_`, the same for `SelfHarm/intent`, `self-harm intent`."""
    return "_".join(words(label))


def _stems(text: str) -> list[str]:
    """Words that mean something, without plural endings and the like."""
    return [_stem(word) for word in words(text) if word not in _STOP and len(word) > 1]


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "es", "ed", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word

"""The labels of one detector and the rule that each of them has."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mapping.engine.types import Method
from mapping.resolver.types import AnsweredBy

Kind: TypeAlias = Literal["finding", "safe", "skip", "unmapped"]

_SEPARATORS: Final = re.compile(r"[\s_\-/]+")


@dataclass(frozen=True, slots=True, eq=False)
class LabelRule:
    """What a vendor's label means."""

    label: str  # as the detector file spells it
    kind: Kind
    targets: tuple[tuple[str, int], ...] = ()  # canonical label and its default severity rank
    confidence: float = 1.0
    threshold: float | None = None  # overrides the file's threshold for this label's scores
    generic: bool = False  # says that something was found, not what: yields to any other finding
    method: Method = "rule"  # `decision`: a person of the tenant decided so
    digest: str | None = None  # stands in findings for a label that may not be recorded
    # What a model thought of, the likeliest first, with probabilities.
    candidates: tuple[tuple[str, float], ...] = ()
    by: AnsweredBy | None = None  # which models answered, if one was asked

    @property
    def handed_over(self) -> bool:
        """Whether the models were too unsure, so that a person is asked."""
        return (
            self.by is not None and bool(self.targets) and self.targets[0][0] == "OTHER.NeedsReview"
        )


def fold(text: str) -> str:
    """Spelling that ignores case and the kind of separator: ``Self-Harm/Intent`` as ``self_harm``.

    Vendors spell one label in several ways (wire name, attribute name, display name).
    """
    return _SEPARATORS.sub("_", text.strip().casefold())


class Vocabulary:
    """Looks labels up: exactly first, then by folded spelling. Never by part of a word."""

    __slots__ = ("_exact", "_folded")

    def __init__(self, rules: Iterable[LabelRule], aliases: Mapping[str, LabelRule]) -> None:
        self._exact = {rule.label: rule for rule in rules}
        for alias, rule in aliases.items():
            self._exact.setdefault(alias, rule)
        self._folded: dict[str, LabelRule] = {}
        clashes = set()
        for spelling, rule in self._exact.items():
            folded = fold(spelling)
            other = self._folded.setdefault(folded, rule)
            if other.kind != rule.kind or other.targets != rule.targets:
                clashes.add(folded)
        for folded in clashes:
            del self._folded[folded]

    def find(self, text: str) -> LabelRule | None:
        """The rule of a label, or None for a label that this detector is not known to emit."""
        rule = self._exact.get(text)
        if rule is None and len(text) <= 200:
            rule = self._folded.get(fold(text))
        return rule

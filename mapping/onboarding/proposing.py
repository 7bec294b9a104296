"""What a vendor's label could mean: by name and alias, then by what maps unknown labels, retrieval.

Where retrieval cannot be used, likeness of words stands in for it, and `why_not` says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from django.conf import settings

from mapping.engine.propose import Proposer
from mapping.engine.types import FLAGGED, OUTCOMES
from mapping.resolver.resolver import Resolver
from mapping.resolver.settle import Verdict
from mapping.resolver.types import LabelQuestion
from mapping.resolvers import resolver_of, retrieval_of_files, why_no_retrieval

Reason: TypeAlias = Literal["exact", "alias", "lexical", "retrieval"]

MOST: Final = 5  # candidates for a label
LEAST_PROBABILITY: Final = 0.005  # what rounds to 0 % helps nobody
# What the engine alone answers.
_NEVER: Final = frozenset(OUTCOMES) - {FLAGGED}


class Candidate(NamedTuple):
    """An answer for a vendor's label. `canonical`: a label, not_a_finding or none_of_these."""

    canonical: str
    reason: Reason
    share: float  # retrieval: its probability; lexical: a cosine, no probability; else 1.0

    @property
    def percent(self) -> int | None:
        """The probability for people; None where there is none."""
        return round(100 * self.share) if self.reason == "retrieval" else None

    @property
    def is_label(self) -> bool:
        """Whether it is a label that says what was found: others need a person's reason."""
        return "." in self.canonical and not self.canonical.startswith("OTHER.")


class Proposed(NamedTuple):
    """What is proposed for one vendor's label."""

    candidates: tuple[Candidate, ...]  # the best first; none if nothing is near
    chosen: str | None  # the label to begin with; None: a person decides
    # That the first candidate is right; None where retrieval did not put it there.
    confidence: float | None


class Proposals:
    """Proposes by one state of the knowledge."""

    def __init__(self, taxonomy: Mapping[str, Any], resolver: Resolver | None, reason: str) -> None:
        """`resolver` None: by names, aliases and words alone, for the `reason`."""
        self._proposer = Proposer(taxonomy)
        self._resolver = resolver
        self.why_not = "" if resolver else reason
        self.threshold: float = settings.CONFIG.mapping.confidence_threshold

    @property
    def threshold_percent(self) -> int:
        """The confidence from which retrieval chooses, for people."""
        return round(100 * self.threshold)

    def propose(self, questions: Iterable[LabelQuestion]) -> list[Proposed]:
        """For each question, in order."""
        asked = list(questions)
        if self._resolver is None:
            return [self._by_words(one) for one in asked]
        verdicts = self._resolver.resolve(asked, model=False)
        return [self._by_retrieval(one, verdicts[one]) for one in asked]

    def _by_words(self, question: LabelQuestion) -> Proposed:
        found = self._near(question)
        sure = bool(found) and found[0].reason != "lexical"
        return Proposed(tuple(found), found[0].canonical if sure else None, None)

    def _by_retrieval(self, question: LabelQuestion, verdict: Verdict) -> Proposed:
        named = [one for one in self._near(question) if one.reason != "lexical"]
        likely = [
            Candidate(name, "retrieval", share)
            for name, share in verdict.candidates
            if name not in _NEVER and share >= LEAST_PROBABILITY
        ]
        known = {one.canonical for one in named}
        candidates = (*named, *(one for one in likely if one.canonical not in known))[:MOST]
        if named:
            return Proposed(candidates, named[0].canonical, None)
        if not candidates or candidates[0].canonical != verdict.labels[0]:
            return Proposed(candidates, None, None)
        # Several labels that are as good as equal: a row has place for one, so a person decides.
        sure = verdict.confidence >= self.threshold and len(verdict.labels) == 1
        chosen = candidates[0].canonical if sure and candidates[0].is_label else None
        return Proposed(candidates, chosen, verdict.confidence)

    def _near(self, question: LabelQuestion) -> list[Candidate]:
        return [
            Candidate(one.canonical, one.reason, one.similarity)
            for one in self._proposer.propose(question.label, question.description)
        ]


def proposals_of_release(serial: int, taxonomy: Mapping[str, Any]) -> Proposals:
    """By a release of the knowledge. `taxonomy`: the release's."""
    return Proposals(taxonomy, resolver_of(serial), why_no_retrieval(taxonomy["edition"]))


def proposals_of_files(
    taxonomy: Mapping[str, Any], detectors: Sequence[Mapping[str, Any]]
) -> Proposals:
    """By the parsed files of a folder."""
    resolver = retrieval_of_files(taxonomy, detectors)
    return Proposals(taxonomy, resolver, why_no_retrieval(taxonomy["edition"]))

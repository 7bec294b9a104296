"""What becomes of a verdict: accepted, its branch accepted, sent to a person, or left unknown.

Thresholds differ by tenant, so this comes after the cache, which holds verdicts alone.
"""

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from mapping.engine.types import SAFE
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, AnsweredBy, Outcome

SHORT_LIST: Final = 5  # more candidates than this are no help to a person

METHODS: Final = ("model", "retrieval")  # of verdicts


class Verdict(NamedTuple):
    """What the models make of a question. Holds canonical labels and numbers alone."""

    labels: tuple[str, ...]  # the first is the likeliest; further ones are as good as equal
    confidence: float  # that the first label is right
    branch: str
    branch_confidence: float  # that the branch of the first label is right
    candidates: tuple[tuple[str, float], ...]  # the five likeliest with their probabilities
    review: tuple[str, ...]  # holds the right answer in nine cases of ten (conformal)
    method: str  # one of METHODS
    # Versions of model and calibrator: put in by the resolver, never kept with the rest.
    versions: tuple[str, str] = ("", "")

    @property
    def by(self) -> AnsweredBy:
        """Who answered."""
        return AnsweredBy(self.method, *self.versions)


class Settled(NamedTuple):
    """What is answered. `labels` is empty for review and fallback."""

    outcome: Outcome
    labels: tuple[str, ...]  # canonical labels; NOT_A_FINDING alone: no finding
    confidence: float
    method: str  # model, retrieval or parent
    candidates: tuple[tuple[str, float], ...]
    by: AnsweredBy


def settle(
    verdict: Verdict, threshold_for: Callable[[str], float], labels: Collection[str]
) -> Settled:
    """`threshold_for`: the confidence that a label wants. `labels`: those of the edition."""
    first = verdict.labels[0]
    if first == NONE_OF_THESE:
        return _handed_over(verdict, "fallback")
    if verdict.confidence >= threshold_for(SAFE if first == NOT_A_FINDING else first):
        # A further label may want more than the first one.
        sure = tuple(
            name
            for name in verdict.labels
            if name == first or verdict.confidence >= threshold_for(name)
        )
        return Settled(
            "accept", sure, verdict.confidence, verdict.method, verdict.candidates, verdict.by
        )
    parent = f"{verdict.branch}.Other"
    backed = verdict.branch_confidence >= threshold_for(parent)
    if backed and parent in labels and first not in (parent, NOT_A_FINDING):
        return Settled(
            "parent", (parent,), verdict.branch_confidence, "parent", verdict.candidates,
            verdict.by,
        )  # fmt: skip
    short = 0 < len(verdict.review) <= SHORT_LIST
    return _handed_over(verdict, "review" if short else "fallback")


def _handed_over(verdict: Verdict, outcome: Outcome) -> Settled:
    return Settled(outcome, (), verdict.confidence, verdict.method, verdict.candidates, verdict.by)

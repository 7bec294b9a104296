"""What a page offers for a label of the queue: candidates with their meanings, and all labels."""

from collections.abc import Iterable
from dataclasses import dataclass

from mapping.engine.propose import Proposer
from mapping.engine.types import FLAGGED, OUTCOMES, UNKNOWN
from mapping.models import ReviewItem
from mapping.resolver.types import NOT_A_FINDING
from mapping.review.sweep import MOST_CANDIDATES
from mapping.selectors import release_in_force
from taxonomy.models import Label

# What a person cannot choose: the engine alone answers so.
NOT_TO_CHOOSE = frozenset(OUTCOMES) - {FLAGGED}
_WHY = {"exact": "same name", "alias": "known by this name", "lexical": "similar words"}


@dataclass(frozen=True, slots=True)
class Option:
    """A label of the taxonomy that can be chosen."""

    name: str
    meaning: str
    boundary: str
    search: str  # everything that a search looks in, in lower case
    share: float | None = None  # of a candidate: its probability or likeness, 0 to 1
    why: str = ""  # of a candidate: where it comes from

    @property
    def percent(self) -> int | None:
        """The share for people."""
        return None if self.share is None else round(100 * self.share)


@dataclass(frozen=True, slots=True)
class Choices:
    """Candidates, the likeliest first, and all other labels in the taxonomy's order."""

    edition: str
    candidates: list[Option]
    others: list[Option]
    not_a_finding: int | None = None  # per cent that the model gives to it, if it was asked

    @property
    def count(self) -> int:
        """How many labels there are."""
        return len(self.candidates) + len(self.others)


def choices_for(items: Iterable[ReviewItem]) -> Choices | None:
    """What can be chosen for all of these items; None if no knowledge is loaded."""
    release = release_in_force()
    if release is None:
        return None
    labels = {
        label.name: label
        for label in Label.objects.filter(edition=release.taxonomy)
        if label.name not in NOT_TO_CHOOSE
    }
    proposer = Proposer(release.taxonomy.document)
    offered = {*labels, NOT_A_FINDING}
    likely: dict[str, tuple[float, str]] = {}
    for item in items:
        for name, share, why in _candidates(item, proposer):
            if name in offered and share > likely.get(name, (-1.0, ""))[0]:
                likely[name] = share, why
    named = [entry for entry in likely.items() if entry[0] in labels]
    best = sorted(named, key=lambda entry: -entry[1][0])[:MOST_CANDIDATES]
    candidates = [_option(labels[name], share, why) for name, (share, why) in best]
    chosen = {option.name for option in candidates}
    others = [_option(label) for name, label in labels.items() if name not in chosen]
    none = likely.get(NOT_A_FINDING)
    return Choices(
        release.taxonomy.edition, candidates, others, None if none is None else round(100 * none[0])
    )


def _candidates(item: ReviewItem, proposer: Proposer) -> list[tuple[str, float, str]]:
    """Those of the model; without one, labels whose names or words are near the detector's."""
    modelled = [
        (str(name), float(share), "model") for name, share in item.candidates if name != UNKNOWN
    ]
    if modelled or not item.label:
        return modelled
    near = proposer.propose(item.label, limit=MOST_CANDIDATES)
    return [(one.canonical, one.similarity, _WHY[one.reason]) for one in near]


def _option(label: Label, share: float | None = None, why: str = "") -> Option:
    words = (label.name, *label.aliases, label.meaning)
    return Option(label.name, label.meaning, label.boundary, " ".join(words).casefold(), share, why)

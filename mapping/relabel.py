"""Carries the labels of one event to another taxonomy edition. Plain Python, no database."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taxonomy.migration import MigrationPlan, WayBack
from taxonomy.selectors import is_edition

RETIRED = ""  # in counts: what a label became that has no successor


class Outcome(NamedTuple):
    """What a label becomes. `target` is None where it was retired without a successor."""

    target: str | None
    lossy: bool  # the target alone does not lead back to the label


class Pair(NamedTuple):
    """A label that the event was given, and the one that stands for it now."""

    given: str
    label: str | None


class Before(NamedTuple):
    """An event as it is shown before the run: by its own labels, or by those of earlier runs."""

    detector: str
    pairs: Sequence[Pair]
    findings: Sequence[tuple[str | None, str | None]]  # the detector's label, the canonical one


class After(NamedTuple):
    """The event as the run shows it. `moves` are its labels before, each with what it became."""

    labels: tuple[str, ...]
    canonical: tuple[str | None, ...]  # of each finding
    pairs: tuple[Pair, ...]
    moves: tuple[Pair, ...]
    lossy: bool
    unplanned: tuple[str, ...]  # labels of which the plan knows nothing: they stay


class Relabelling:
    """The rules from edition `source` to edition `target`, by label and by the detector's label."""

    def __init__(
        self,
        source: str,
        target: str,
        general: dict[str, Outcome],
        special: dict[tuple[str, str, str], Outcome],
    ) -> None:
        """`special` is by label, detector and the detector's own label, and goes first."""
        self.source, self.target = source, target
        self._general, self._special = general, special

    @classmethod
    def forward(cls, plan: MigrationPlan) -> "Relabelling":
        """The plan's own rules."""
        return cls(plan.old, plan.new, *_forward(plan))

    @classmethod
    def backward(cls, back: WayBack) -> "Relabelling":
        """The rules of a plan's way back."""
        general = {
            label: Outcome(old, label not in back.exact) for label, old in back.labels.items()
        }
        return cls(back.new, back.old, general, {})

    def concerns(self, edition: str) -> bool:
        """Whether labels of this edition are carried; a further edition counts as its base."""
        return is_edition(edition, self.source)

    def outcome(self, label: str, detector: str, source_label: str | None) -> Outcome | None:
        """What a finding's label becomes; None if the rules do not know it."""
        if source_label is not None:
            found = self._special.get((label, detector, source_label))
            if found is not None:
                return found
        return self._general.get(label)

    def targets(self, label: str) -> set[str]:
        """All that a label can become, RETIRED among them."""
        ways = [self._general.get(label, Outcome(label, False))]
        ways += [way for key, way in self._special.items() if key[0] == label]
        return {way.target or RETIRED for way in ways}

    def event(self, before: Before) -> After:
        """The event in the target edition: every label and every finding is accounted for."""
        canonical: list[str | None] = []
        found: dict[str, list[Outcome]] = {}
        for source_label, label in before.findings:
            if label is None:
                canonical.append(None)
                continue
            way = self.outcome(label, before.detector, source_label) or Outcome(label, False)
            canonical.append(way.target)
            found.setdefault(label, []).append(way)
        pairs: dict[Pair, None] = {}  # dictionaries keep the order, and each key once
        moves: dict[Pair, None] = {}
        labels: dict[str, None] = {}
        unplanned, lossy = [], False
        for given, label in before.pairs:
            if label is None:  # an earlier plan retired it
                pairs[Pair(given, None)] = None
                continue
            general = self._general.get(label)
            if general is None:
                unplanned.append(label)
            for way in found.get(label) or [general or Outcome(label, False)]:
                pairs[Pair(given, way.target)] = None
                moves[Pair(label, way.target)] = None
                lossy = lossy or way.lossy
                if way.target is not None:
                    labels[way.target] = None
        return After(
            tuple(labels), tuple(canonical), tuple(pairs), tuple(moves), lossy, tuple(unplanned)
        )


def _forward(
    plan: MigrationPlan,
) -> tuple[dict[str, Outcome], dict[tuple[str, str, str], Outcome]]:
    exact = plan.invert().labels
    general: dict[str, Outcome] = {}
    special: dict[tuple[str, str, str], Outcome] = {}
    for step in plan.steps:
        if step.action != "split":
            general[step.label] = Outcome(step.into, step.into not in exact)
            continue
        for rule in step.rules:
            way = Outcome(rule.into, rule.into not in exact)
            if rule.source is None:
                general[step.label] = way
            else:
                special[(step.label, *rule.source)] = way
    return general, special


def own_pairs(labels: Iterable[str]) -> list[Pair]:
    """An event that no run has touched shows what it was given."""
    return [Pair(label, label) for label in labels]

"""Counts of a migration that must balance: each event once, each label with what it became."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mapping.relabel import RETIRED, After, Relabelling


@dataclass(slots=True)
class Tally:
    """What a run did to events. All numbers are events; `undone` are rows that it removed."""

    events: int = 0
    lossy: int = 0
    undone: int = 0
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    flow: dict[str, Counter[str]] = field(default_factory=dict)  # RETIRED where without successor
    unplanned: Counter[str] = field(default_factory=Counter)

    def add(self, after: After) -> None:
        """Count one event."""
        self.events += 1
        self.lossy += after.lossy
        self.before.update({label for label, _ in after.moves})
        self.after.update(after.labels)
        self.unplanned.update(after.unplanned)
        for label, target in after.moves:
            self.flow.setdefault(label, Counter())[target or RETIRED] += 1

    def merge(self, other: "Tally") -> None:
        """Add another tally to this one."""
        self.events += other.events
        self.lossy += other.lossy
        self.undone += other.undone
        self.before.update(other.before)
        self.after.update(other.after)
        self.unplanned.update(other.unplanned)
        for label, targets in other.flow.items():
            self.flow.setdefault(label, Counter()).update(targets)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in the order of names."""
        return {
            "events": self.events,
            "lossy": self.lossy,
            "undone": self.undone,
            "before": dict(sorted(self.before.items())),
            "after": dict(sorted(self.after.items())),
            "flow": {label: dict(sorted(to.items())) for label, to in sorted(self.flow.items())},
            "unplanned": dict(sorted(self.unplanned.items())),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Tally":
        """What as_dict gave; an empty mapping is an empty tally."""
        return cls(
            data.get("events", 0),
            data.get("lossy", 0),
            data.get("undone", 0),
            Counter(data.get("before", {})),
            Counter(data.get("after", {})),
            {label: Counter(targets) for label, targets in data.get("flow", {}).items()},
            Counter(data.get("unplanned", {})),
        )

    def imbalances(self, rules: Relabelling) -> Iterator[str]:
        """Where the counts contradict each other or the plan; nothing if they balance.

        A label with one way out has all its events there. One with several (a split) has each
        event in at least one of them. A new label has as many events as came in, less those that
        came in by two labels at once.
        """
        for label, events in self.before.items():
            targets = self.flow.get(label, Counter())
            strange = targets.keys() - rules.targets(label)
            if strange:
                yield f"{label}: became {', '.join(sorted(strange))}, which the plan does not say."
            whole = len(rules.targets(label)) == 1
            total = sum(targets.values())
            if total < events or (whole and total != events):
                yield f"{label}: {events} events before, {total} accounted for."
        arrived: dict[str, list[int]] = {}
        for targets in self.flow.values():
            for target, events in targets.items():
                arrived.setdefault(target, []).append(events)
        for target in (arrived.keys() | self.after.keys()) - {RETIRED}:
            came, there = arrived.get(target, [0]), self.after[target]
            if not max(came) <= there <= sum(came):
                yield f"{target}: {there} events after, {sum(came)} came in."

"""Collects what the recipes read from one output."""

from typing import Any

from mapping.engine.types import MAX_FINDINGS
from mapping.engine.vocabulary import LabelRule


class Sink:
    """Readers report here. Holds raw label texts, so it never outlives the call."""

    __slots__ = (
        "cleared", "contradicts", "dismissed", "dropped", "failures", "hits", "ignored", "recipe",
        "under", "unreadable",
    )  # fmt: skip

    def __init__(self) -> None:
        # Rule (or text of an unknown label) -> [best score or None, highest severity rank or -1,
        # count].
        self.hits: dict[LabelRule | str, list[Any]] = {}
        self.unreadable = 0  # records without a label or verdict that could be read
        self.failures = 0  # records in which the detector itself says that it failed
        self.dropped = 0  # distinct labels over MAX_FINDINGS
        self.dismissed = 0  # labels that state no finding, as a person has decided
        self.contradicts = False  # one text states a finding, and that there is none
        self.cleared = False  # it was stated that nothing was found
        self.ignored = 0  # members that nobody could make sense of (detectors without a file)
        self.under = 0  # scores under the threshold (detectors without a file)
        self.recipe: str | None = None

    def add(self, key: LabelRule | str, score: float | None = None, severity: int = -1) -> None:
        """A label that the detector found. `severity` is a rank, -1 if the detector gave none."""
        hit = self.hits.get(key)
        if hit is not None:
            hit[2] += 1
            if score is not None and (hit[0] is None or score > hit[0]):
                hit[0] = score
            if severity > hit[1]:
                hit[1] = severity
        elif len(self.hits) < MAX_FINDINGS:
            self.hits[key] = [score, severity, 1]
        else:
            self.dropped += 1

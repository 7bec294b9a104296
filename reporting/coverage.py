"""The calculation: from counts to what they say about each control. Plain Python, no database.

A finding is evidence supporting a control. No finding, a failed detector and an unmapped label are
no evidence at all: such a control is `not_evaluated`, whatever else happened in the period.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from reporting.counting import OUTCOMES, Counts
from reporting.errors import ReportBuildError
from reporting.knowledge import Bearing, Control, FrameworkKnowledge

SEVERITIES = ("critical", "high", "medium", "low", "info", "none")
EVIDENCE = "evidence"
NOT_EVALUATED = "not_evaluated"
NOT_EVALUABLE = "not_evaluable_by_detectors"
# Why a control is not evaluated although the crosswalk knows findings for it.
NO_FINDING = "no_finding"
NO_DETECTOR = "no_detector"
NO_CROSSWALK = "no_crosswalk_row"

_DAILY_UP_TO = 62
_WEEKLY_UP_TO = 434  # 62 weeks


@dataclass(frozen=True, slots=True)
class LabelEvidence:
    """Findings of one label for one control, and why they bear on it."""

    label: str
    events: int
    evidence: str
    relationship: str
    strength: int
    rationale: str
    # Labels of other editions that stand behind some of the events: label, taxonomy, events.
    migrated_from: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ControlCoverage:
    """What the period says about one control. `events` counts each event once."""

    code: str
    title: str
    group: str
    state: str
    reason: str | None
    events: int
    direct_events: int
    supporting_events: int
    by_severity: dict[str, int]
    first_seen: datetime | None
    last_seen: datetime | None
    labels: list[LabelEvidence]
    strongest: LabelEvidence | None
    detectors: dict[str, int]
    able_detectors: list[str]  # reported in the period, and could have found something


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bar of the trend: a day, or the days of a week or month that are in the period."""

    start: date
    end: date  # its last day
    outcomes: dict[str, int]
    severities: dict[str, int]  # of the events with evidence

    @property
    def events(self) -> int:
        """All events of the bucket."""
        return sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class Coverage:
    """The whole result."""

    controls: list[ControlCoverage]
    unit: str  # of the trend: day, week or month
    trend: list[Bucket]
    silent_days: list[date]  # no detector reported anything
    strangers: dict[str, int]  # labels in events that this taxonomy edition does not have
    expected_not_seen: list[str]
    counts: Counts = field(repr=False)


def crosswalk_pairs(knowledge: FrameworkKnowledge) -> dict[tuple[str, str], bool]:
    """The crosswalk as count_events wants it: (label, code) -> direct."""
    return {
        (label, code): bearing.evidence == "direct"
        for label, bearings in knowledge.bearings.items()
        for code, bearing in bearings.items()
    }


def evaluate(*, knowledge: FrameworkKnowledge, counts: Counts, first: date, last: date) -> Coverage:
    """What the counts of [first, last] say. Raises ReportBuildError if they do not balance."""
    _check_sums(counts)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    active = {day for day, *_ in counts.days}
    seen = {row["detector"].casefold() for row in counts.detectors}
    unit, trend = _trend(counts, days)
    return Coverage(
        controls=_controls(knowledge, counts),
        unit=unit,
        trend=trend,
        silent_days=[day for day in days if day not in active],
        strangers={
            row["label"]: row["events"]
            for row in counts.labels
            if row["label"] not in knowledge.labels
        },
        expected_not_seen=[name for name in counts.expected if name.casefold() not in seen],
        counts=counts,
    )


def _check_sums(counts: Counts) -> None:
    """The same events, counted three ways, must give the same number."""
    ways = {
        "outcomes": sum(counts.outcomes.values()),
        "days": sum(events for *_, events in counts.days),
        "releases": sum(row["events"] for row in counts.releases),
    }
    wrong = {name: number for name, number in ways.items() if number != counts.total}
    if wrong:
        raise ReportBuildError(
            f"The sums do not balance: {counts.total} events in all, but {wrong}. "
            "No report was made. Please report this fault."
        )


def _controls(knowledge: FrameworkKnowledge, counts: Counts) -> list[ControlCoverage]:
    labels = {row["label"]: row["events"] for row in counts.labels}
    origins = _origins(counts)
    found: dict[str, list[LabelEvidence]] = {}
    able: dict[str, set[str]] = {}  # control -> labels that bear on it
    for label, bearings in knowledge.bearings.items():
        for code, bearing in bearings.items():
            able.setdefault(code, set()).add(label)
            if label in labels:
                found.setdefault(code, []).append(
                    _label_evidence(label, labels[label], bearing, origins)
                )
    # A detector that only failed has not looked at anything.
    reported = {row["detector"] for row in counts.detectors if row["events"] > row["error"]}
    capable = {name: knowledge.detectors[name] for name in reported & knowledge.detectors.keys()}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in counts.controls:
        rows.setdefault(row["code"], []).append(row)
    detectors: dict[str, dict[str, int]] = {}
    for row in counts.control_detectors:
        detectors.setdefault(row["code"], {})[row["detector"]] = row["events"]
    return [
        _control(
            control,
            rows.get(control.code, []),
            sorted(found.get(control.code, []), key=_weight, reverse=True),
            detectors.get(control.code, {}),
            able.get(control.code, set()),
            capable,
        )
        for control in knowledge.controls
    ]


def _origins(counts: Counts) -> dict[str, list[dict[str, Any]]]:
    """For each label that is shown: under which other names its events came."""
    found: dict[str, dict[tuple[str, str], int]] = {}
    for row in counts.lineage:
        if row["became"] is not None and row["became"] != row["given"]:
            origin = found.setdefault(row["became"], {})
            key = (row["given"], row["given_taxonomy"])
            origin[key] = origin.get(key, 0) + row["events"]
    return {
        label: [
            {"label": given, "taxonomy": taxonomy, "events": events}
            for (given, taxonomy), events in origin.items()
        ]
        for label, origin in found.items()
    }


def _label_evidence(
    label: str, events: int, bearing: Bearing, origins: Mapping[str, list[dict[str, Any]]]
) -> LabelEvidence:
    return LabelEvidence(
        label,
        events,
        bearing.evidence,
        bearing.relationship,
        bearing.strength,
        bearing.rationale,
        origins.get(label, []),
    )


def _weight(evidence: LabelEvidence) -> tuple[bool, int, int, str]:
    """Direct before supporting, then the stronger, then the more frequent."""
    return evidence.evidence == "direct", evidence.strength, evidence.events, evidence.label


def _control(
    control: Control,
    rows: list[dict[str, Any]],
    labels: list[LabelEvidence],
    detectors: dict[str, int],
    wanted: set[str],
    capable: Mapping[str, frozenset[str]],
) -> ControlCoverage:
    able = sorted(name for name, reports in capable.items() if reports & wanted)
    if rows:
        state, reason = EVIDENCE, None
    elif not wanted:
        state, reason = NOT_EVALUABLE, NO_CROSSWALK
    else:
        state, reason = NOT_EVALUATED, NO_FINDING if able else NO_DETECTOR
    direct = _events(row for row in rows if row["direct"])
    events = _events(rows)
    return ControlCoverage(
        code=control.code,
        title=control.title,
        group=control.group,
        state=state,
        reason=reason,
        events=events,
        direct_events=direct,
        supporting_events=events - direct,
        by_severity={
            name: _events(row for row in rows if row["severity"] == name) for name in SEVERITIES
        },
        first_seen=min((row["first_seen"] for row in rows), default=None),
        last_seen=max((row["last_seen"] for row in rows), default=None),
        labels=labels,
        strongest=labels[0] if labels else None,
        detectors=detectors,
        able_detectors=able,
    )


def _events(rows: Iterable[Mapping[str, Any]]) -> int:
    return sum(int(row["events"]) for row in rows)


def _trend(counts: Counts, days: list[date]) -> tuple[str, list[Bucket]]:
    """Days up to two months, else weeks from Monday, else calendar months; empty ones included."""
    unit = "day" if len(days) <= _DAILY_UP_TO else "week" if len(days) <= _WEEKLY_UP_TO else "month"
    buckets: dict[date, Bucket] = {}
    for day in days:
        start = _start_of(unit, day)
        known = buckets.get(start)
        buckets[start] = Bucket(
            start=known.start if known else day,  # the first bucket may begin before the period
            end=day,
            outcomes=known.outcomes if known else dict.fromkeys(OUTCOMES, 0),
            severities=known.severities if known else dict.fromkeys(SEVERITIES, 0),
        )
    for day, outcome, severity, events in counts.days:
        bucket = buckets[_start_of(unit, day)]
        bucket.outcomes[outcome] += events
        if outcome == EVIDENCE:
            bucket.severities[severity] += events
    return unit, list(buckets.values())


def _start_of(unit: str, day: date) -> date:
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "month" else day

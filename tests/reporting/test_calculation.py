"""The numbers of a report, against an example worked out by hand."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from mapping.versions import Versions
from reporting.counting import Counts, count_events
from reporting.coverage import Coverage, crosswalk_pairs, evaluate
from reporting.errors import ReportBuildError
from reporting.knowledge import (
    Control,
    FrameworkKnowledge,
    _bearings,
    framework_choices,
    framework_knowledge,
)
from tenants.context import tenant_context
from tests.reporting.conftest import event

pytestmark = pytest.mark.django_db

LABELS = frozenset({"PII.A", "PII.B", "HARM.X", "SEC.Y", "SEC.Z", "OTHER.Safe", "OTHER.Unknown"})


def row(label: str, control: str, evidence: str, strength: int, relationship: str = "intersects"):
    return {
        "label": label, "control": control, "evidence": evidence, "strength": strength,
        "relationship": relationship, "rationale": f"{label} for {control}",
    }  # fmt: skip


CROSSWALK = [
    row("PII", "C1", "direct", 8, "subset"),
    row("PII.B", "C1", "supporting", 3),  # nearer to PII.B than the row on PII
    row("PII", "C2", "supporting", 4),
    row("HARM", "C3", "direct", 5),
    row("SEC", "C4", "direct", 9),
    row("SEC.Z", "C4", "none", 0, "not_related"),
]
KNOWLEDGE = FrameworkKnowledge(
    release=1, taxonomy="2026.11", framework="demo", edition="1", name="Demo", short_name="Demo",
    publisher="Nobody", licence="Free", complete=True, crosswalk="2026.11.1",
    controls=tuple(Control(f"C{n}", f"Title {n}", "Group") for n in range(1, 6)),
    labels=LABELS,
    bearings=_bearings(CROSSWALK, LABELS),
    versions=Versions(
        release=1, taxonomy="2026.11", frameworks={"demo@1": "1"},
        crosswalks={"demo@1": "2026.11.1"}, detectors={"one": "1"}, model=None, calibrator=None,
    ),
    detectors={
        "one": frozenset({"PII.A", "PII.B"}),
        "two": frozenset({"HARM.X", "SEC.Z"}),
        "broken": frozenset({"SEC.Y"}),
    },
)  # fmt: skip
FIRST, LAST = date(2026, 11, 2), date(2026, 11, 4)
EVENTS = [
    # the first and the last moment of the period, and the moments next to them
    event("2026-11-01T23:59:59.999999", "one", ["PII.A"]),
    event("2026-11-02T00:00:00", "one", ["PII.A"], severity="high"),
    event("2026-11-02T10:00:00", "one", ["PII.A", "PII.B"]),
    event("2026-11-03T10:00:00", "one", ["PII.B"], severity="low"),
    event("2026-11-03T11:00:00", "one", ["OTHER.Safe"], decision="safe", severity="none"),
    event("2026-11-04T23:59:59.999999", "two", ["HARM.X", "OTHER.Unknown"], severity="critical"),
    event("2026-11-05T00:00:00", "two", ["HARM.X"]),
    # none of these is evidence
    event("2026-11-02T12:00:00", "two", ["OTHER.Unknown"], decision="fallback", severity="low"),
    event("2026-11-02T12:00:01", "two", ["OTHER.NeedsReview"], decision="review"),
    event("2026-11-02T12:00:02", "one", ["PII.A"], decision="review"),  # under the threshold
    event("2026-11-02T12:00:03", "broken", ["OTHER.ModelError"], decision="error"),
    event("2026-11-02T12:00:04", "two", ["OTHER.Flagged"]),
    event("2026-11-02T12:00:05", "two", ["SEC.Z"]),
]


def counted(tenant: Any) -> Counts:
    with tenant_context(tenant):
        return count_events(
            start=datetime(2026, 11, 2, tzinfo=UTC),
            end=datetime(2026, 11, 5, tzinfo=UTC),
            direct=crosswalk_pairs(KNOWLEDGE),
        )


@pytest.fixture
def coverage(acme: Any, add_events: Any) -> Coverage:
    add_events(acme.tenant, *EVENTS)
    return evaluate(knowledge=KNOWLEDGE, counts=counted(acme.tenant), first=FIRST, last=LAST)


def control(coverage: Coverage, code: str) -> Any:
    return next(found for found in coverage.controls if found.code == code)


class TestExample:
    def test_outcomes_add_up(self, coverage: Coverage) -> None:
        counts = coverage.counts
        assert counts.total == 11
        assert counts.outcomes == {
            "evidence": 4, "no_control": 1, "safe": 1, "uncategorised": 1, "unknown": 1,
            "review": 2, "error": 1,
        }  # fmt: skip

    def test_an_event_is_counted_once_for_a_control(self, coverage: Coverage) -> None:
        c1 = control(coverage, "C1")
        assert (c1.state, c1.reason) == ("evidence", None)
        # The event with both labels is direct by PII.A, and supporting by PII.B's nearer row.
        assert (c1.events, c1.direct_events, c1.supporting_events) == (3, 2, 1)
        assert c1.by_severity == {
            "critical": 0, "high": 1, "medium": 1, "low": 1, "info": 0, "none": 0
        }  # fmt: skip
        assert c1.first_seen == datetime(2026, 11, 2, tzinfo=UTC)
        assert c1.last_seen == datetime(2026, 11, 3, 10, tzinfo=UTC)
        assert c1.detectors == {"one": 3}

    def test_labels_and_the_strongest(self, coverage: Coverage) -> None:
        c1 = control(coverage, "C1")
        assert [(one.label, one.events, one.evidence, one.strength) for one in c1.labels] == [
            ("PII.A", 2, "direct", 8),
            ("PII.B", 2, "supporting", 3),
        ]
        assert c1.strongest == c1.labels[0]
        assert c1.strongest.relationship == "subset"

    def test_supporting_alone(self, coverage: Coverage) -> None:
        c2 = control(coverage, "C2")
        assert (c2.events, c2.direct_events, c2.supporting_events) == (3, 0, 3)
        assert c2.strongest.evidence == "supporting"

    def test_mapped_in_part_is_evidence_and_listed(self, coverage: Coverage) -> None:
        assert control(coverage, "C3").events == 1
        found = {
            (row["detector"], row["label"]): (row["events"], row["partly"])
            for row in coverage.counts.unmapped
        }
        assert found == {
            ("two", "OTHER.Unknown"): (2, 1),
            ("two", "OTHER.NeedsReview"): (1, 0),
            ("two", "OTHER.Flagged"): (1, 0),
            ("one", "OTHER.NeedsReview"): (1, 0),
            ("broken", "OTHER.ModelError"): (1, 0),
        }  # fmt: skip

    def test_no_evidence_is_not_evaluated(self, coverage: Coverage) -> None:
        c4 = control(coverage, "C4")
        # Two's SEC.Z is not related to C4, and broken, which could show it, only failed.
        assert (c4.state, c4.reason, c4.events) == ("not_evaluated", "no_detector", 0)
        assert c4.able_detectors == []
        assert c4.strongest is None

    def test_beyond_detectors(self, coverage: Coverage) -> None:
        c5 = control(coverage, "C5")
        assert (c5.state, c5.reason) == ("not_evaluable_by_detectors", "no_crosswalk_row")

    def test_trend_by_day(self, coverage: Coverage) -> None:
        assert coverage.unit == "day"
        assert [(b.start, b.events, b.outcomes["evidence"]) for b in coverage.trend] == [
            (date(2026, 11, 2), 8, 2),
            (date(2026, 11, 3), 2, 1),
            (date(2026, 11, 4), 1, 1),
        ]
        assert coverage.trend[2].severities["critical"] == 1
        assert coverage.silent_days == []

    def test_detectors(self, coverage: Coverage) -> None:
        rows = {row["detector"]: row for row in coverage.counts.detectors}
        assert {name: row["events"] for name, row in rows.items()} == {
            "one": 5, "two": 5, "broken": 1
        }  # fmt: skip
        two = rows["two"]
        assert (two["evidence"], two["no_control"], two["safe"], two["unmapped"]) == (1, 1, 0, 3)
        assert rows["broken"]["error"] == 1


def test_a_safe_check_is_no_evidence_but_the_detector_was_there(acme: Any, add_events: Any) -> None:
    add_events(
        acme.tenant,
        event("2026-11-02T10:00:00", "one", ["OTHER.Safe"], decision="safe", severity="none"),
    )
    coverage = evaluate(knowledge=KNOWLEDGE, counts=counted(acme.tenant), first=FIRST, last=LAST)
    c1 = control(coverage, "C1")
    assert (c1.state, c1.reason, c1.events) == ("not_evaluated", "no_finding", 0)
    assert c1.able_detectors == ["one"]
    assert coverage.silent_days == [date(2026, 11, 3), date(2026, 11, 4)]


def test_an_empty_period(acme: Any) -> None:
    coverage = evaluate(knowledge=KNOWLEDGE, counts=counted(acme.tenant), first=FIRST, last=LAST)
    assert coverage.counts.total == 0
    assert [found.state for found in coverage.controls] == [
        *["not_evaluated"] * 4, "not_evaluable_by_detectors"
    ]  # fmt: skip
    assert [bucket.events for bucket in coverage.trend] == [0, 0, 0]
    assert len(coverage.silent_days) == 3


def test_expected_detectors_that_never_reported(acme: Any, add_events: Any) -> None:
    add_events(
        acme.tenant,
        event("2026-11-02T10:00:00", "one", ["PII.A"], expected_detectors=["One", "ghost"]),
    )
    coverage = evaluate(knowledge=KNOWLEDGE, counts=counted(acme.tenant), first=FIRST, last=LAST)
    assert coverage.expected_not_seen == ["ghost"]


def test_labels_of_another_edition_are_named_and_no_evidence(acme: Any, add_events: Any) -> None:
    add_events(acme.tenant, event("2026-11-02T10:00:00", "one", ["GONE.Label"]))
    coverage = evaluate(knowledge=KNOWLEDGE, counts=counted(acme.tenant), first=FIRST, last=LAST)
    assert coverage.strangers == {"GONE.Label": 1}
    assert coverage.counts.outcomes["no_control"] == 1


def test_sums_that_do_not_balance_are_refused(acme: Any, add_events: Any) -> None:
    add_events(acme.tenant, *EVENTS)
    counts = counted(acme.tenant)
    counts.outcomes["evidence"] += 1
    with pytest.raises(ReportBuildError, match="do not balance"):
        evaluate(knowledge=KNOWLEDGE, counts=counts, first=FIRST, last=LAST)


@pytest.mark.parametrize(
    ("last", "unit", "buckets", "starts"),
    [
        (date(2026, 3, 4), "day", 62, [date(2026, 1, 2), date(2026, 1, 3)]),
        # The period begins on a Friday: its first week is cut short.
        (date(2026, 3, 5), "week", 9 + 1, [date(2026, 1, 2), date(2026, 1, 5)]),
        (date(2027, 3, 31), "month", 15, [date(2026, 1, 2), date(2026, 2, 1)]),
    ],
)
def test_the_trend_grows_coarser(
    acme: Any, add_events: Any, last: date, unit: str, buckets: int, starts: list[date]
) -> None:
    first = date(2026, 1, 2)
    add_events(acme.tenant, event("2026-02-03T10:00:00", "one", ["PII.A"]))
    with tenant_context(acme.tenant):
        counts = count_events(
            start=datetime(2026, 1, 2, tzinfo=UTC),
            end=datetime(2026, 3, 1, tzinfo=UTC),
            direct=crosswalk_pairs(KNOWLEDGE),
        )
    coverage = evaluate(knowledge=KNOWLEDGE, counts=counts, first=first, last=last)
    assert coverage.unit == unit
    assert len(coverage.trend) == buckets
    assert [bucket.start for bucket in coverage.trend[:2]] == starts
    assert coverage.trend[-1].end == last
    assert sum(bucket.events for bucket in coverage.trend) == 1
    holding = next(bucket for bucket in coverage.trend if bucket.events)
    assert holding.start <= date(2026, 2, 3) <= holding.end


class TestShippedKnowledge:
    """The report's reading of the crosswalks is that of the engine and of the knowledge pages."""

    @pytest.fixture(autouse=True)
    def _inside(self, acme: Any) -> Iterator[None]:
        with tenant_context(acme.tenant):
            yield

    def test_all_frameworks_can_be_asked_for(self, acme: Any) -> None:
        assert {choice.framework for choice in framework_choices()} >= {
            "soc2", "iso27001", "hipaa"
        }  # fmt: skip

    def test_same_controls_as_the_engine_answers_with(self, acme: Any, settings: Any) -> None:
        """Answers leave weak relations out, by configuration; reports name all."""
        from mapping.selectors import engine_in_force

        answered = engine_in_force().engine.knowledge.controls
        least = settings.CONFIG.mapping.controls_min_strength
        named = settings.CONFIG.mapping.frameworks
        choices = [choice for choice in framework_choices() if choice.framework in named]
        assert len(choices) == 3
        for choice in choices:
            knowledge = framework_knowledge(choice.framework, choice.edition)
            for label in knowledge.labels:
                ours = {
                    f"{knowledge.key}:{code}"
                    for code, bearing in knowledge.bearings.get(label, {}).items()
                    if bearing.strength >= least
                }
                theirs = {c for c in answered.get(label, ()) if c.startswith(f"{knowledge.key}:")}
                assert ours == theirs, label

    def test_same_rows_as_the_knowledge_pages_show(self, acme: Any) -> None:
        from taxonomy.selectors import controls_for, current_release

        release = current_release()
        assert release is not None
        knowledge = framework_knowledge("soc2", "2017")
        secret = min(name for name in knowledge.labels if name.startswith("SECRET."))
        for label in ("PII.Contact.Email", "PII.Special.Religion", secret):
            ours = {
                code: (bearing.evidence, bearing.relationship, bearing.strength)
                for code, bearing in knowledge.bearings.get(label, {}).items()
            }
            theirs = {
                found.control.code: (found.evidence, found.relationship, found.strength)
                for found in controls_for(label, release)
                if str(found.control.edition) == knowledge.key
            }
            assert ours == theirs

    def test_every_detector_maps_to_labels_of_the_taxonomy(self, acme: Any) -> None:
        knowledge = framework_knowledge("soc2", "2017")
        assert knowledge.detectors["presidio"]
        for name, labels in knowledge.detectors.items():
            assert labels <= knowledge.labels, name

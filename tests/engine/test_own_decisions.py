"""A tenant's own decisions: which labels they touch, which they leave, and what goes first."""

from typing import Any

import pytest

from mapping.engine import DecidedLabel, Decisions, DetectorOutput, MappingResult
from tests.engine.support import check, document, engine, hash_text, knowledge, labels

BADGE, EMAIL = "PII.Identifier.Other", "PII.Contact.Email"
TEXT = "call me at jane.roe@example.org please"


def decided(
    *canonical: str,
    label: str | None = "BADGE_NO",
    detector: str = "presidio",
    version: str | None = None,
    digest: str | None = None,
) -> DecidedLabel:
    return DecidedLabel(detector, version, label, digest, canonical)


def run(
    output: Any, *decisions: DecidedLabel, detector: str = "presidio", **more: Any
) -> MappingResult:
    item = DetectorOutput(detector, output, **more)
    result = engine().map(item, hash_text, Decisions(decisions))
    check(result)
    assert result.output_shape["type"] != "unreadable"
    return result


def test_an_unknown_label_means_what_was_decided() -> None:
    result = run([{"entity_type": "BADGE_NO", "start": 0, "end": 3, "score": 0.7}], decided(BADGE))
    (found,) = result.findings
    assert found[:5] == ("BADGE_NO", None, BADGE, 1.0, "decision")
    assert (found.score, result.decision, result.confidence) == (0.7, "mapped", 1.0)
    assert result.controls == engine().knowledge.controls[BADGE]


def test_several_labels_and_the_default_severities_of_each() -> None:
    result = run(["BADGE_NO"], decided(BADGE, "SECRET.Password"))
    assert labels(result) == [("BADGE_NO", BADGE), ("BADGE_NO", "SECRET.Password")]
    ranks = [engine().knowledge.severities[label] for label in (BADGE, "SECRET.Password")]
    assert result.severity == ("none", "info", "low", "medium", "high", "critical")[max(ranks)]


def test_a_label_with_a_rule_keeps_it() -> None:
    result = run(["PERSON"], decided(BADGE, label="PERSON"), decided(label="PERSON", version="2"))
    assert labels(result) == [("PERSON", "PII.Person.Name")]
    assert result.findings[0].method == "rule"


def test_a_label_that_the_file_leaves_unmapped_can_be_decided() -> None:
    detector, label = next(
        (one, label.label)
        for one in knowledge().detectors.values()
        for label in one.labels.values()
        if label.kind == "unmapped"
    )
    sent = DetectorOutput(detector.name, [label])
    before = engine().map(sent, hash_text)
    after = engine().map(
        sent, hash_text, Decisions([decided(BADGE, label=label, detector=detector.name)])
    )
    assert [f.method for f in before.findings] == ["none"]
    assert [(f.canonical, f.method) for f in after.findings] == [(BADGE, "decision")]


def test_no_finding_is_safe_and_said_in_the_notes() -> None:
    result = run(["BADGE_NO"], decided())
    assert (result.decision, result.findings) == ("safe", ())
    assert "1 labels are no finding by a person's decision" in str(result.notes)
    both = run(["BADGE_NO", "PERSON", "OTHER_THING"], decided())
    assert labels(both) == [("PERSON", "PII.Person.Name"), ("OTHER_THING", "OTHER.Unknown")]


@pytest.mark.parametrize("sent", ["badge-no", "Badge No", "BADGE/NO"])
def test_spelling_does_not_matter_and_stays_as_sent(sent: str) -> None:
    (found,) = run([sent], decided(BADGE)).findings
    assert (found.source_label, found.method) == (sent, "decision")


def test_spellings_that_were_decided_differently_count_exactly_alone() -> None:
    both = decided(BADGE), decided(EMAIL, label="badge_no")
    assert run(["BADGE_NO"], *both).taxonomy == (BADGE,)
    assert run(["badge_no"], *both).taxonomy == (EMAIL,)
    assert run(["Badge No"], *both).taxonomy == ("OTHER.Unknown",)


def test_the_decision_for_the_version_goes_first() -> None:
    both = decided(BADGE), decided(EMAIL, version="2.1")
    assert run(["BADGE_NO"], *both, detector_version="2.1").taxonomy == (EMAIL,)
    assert run(["BADGE_NO"], *both, detector_version="2.2").taxonomy == (BADGE,)
    assert run(["BADGE_NO"], *both).taxonomy == (BADGE,)
    assert run(["BADGE_NO"], decided(EMAIL, version="2.1")).taxonomy == ("OTHER.Unknown",)


def test_the_last_of_two_decisions_counts() -> None:
    assert run(["BADGE_NO"], decided(BADGE), decided(EMAIL)).taxonomy == (EMAIL,)
    assert len(Decisions([decided(BADGE), decided(EMAIL)])) == 1


@pytest.mark.parametrize("name", ["in-house guard", "In-House_Guard"])
def test_a_detector_without_a_file(name: str) -> None:
    made = decided(BADGE, detector="in-house guard")
    result = run([{"label": "BADGE_NO", "score": 0.9}], made, detector=name)
    assert (result.taxonomy, result.findings[0].method) == ((BADGE,), "decision")
    assert run(["BADGE_NO"], made).taxonomy == ("OTHER.Unknown",)


def test_a_decision_under_an_alias_of_the_detector_holds() -> None:
    one = next(d for d in knowledge().detectors.values() if d.aliases)
    made = Decisions([decided(BADGE, detector=one.aliases[0])])
    item = DetectorOutput(one.aliases[0], ["no_such_label_yet"])
    found = engine().map(item, hash_text, Decisions([
        decided(BADGE, detector=one.aliases[0], label="no_such_label_yet"),
    ]))  # fmt: skip
    assert found.detector == one.name
    assert found.taxonomy == (BADGE,)
    assert engine().map(item, hash_text, made).taxonomy == ("OTHER.Unknown",)


def test_text_is_decided_by_its_hash_and_stays_unsaid() -> None:
    made = decided(BADGE, label=None, digest=hash_text(TEXT))
    (found,) = run([{"entity_type": TEXT, "start": 0, "end": 3}], made).findings
    assert found[:5] == (None, hash_text(TEXT), BADGE, 1.0, "decision")
    other = run([{"entity_type": f"{TEXT}!", "start": 0, "end": 3}], made)
    assert other.taxonomy == ("OTHER.Unknown",)


def test_a_label_that_the_taxonomy_does_not_have_is_left_out_of_account() -> None:
    result = run(["BADGE_NO"], decided(BADGE, "PII.Gone.Since"))
    assert (result.taxonomy, result.findings[0].method) == (("OTHER.Unknown",), "none")


def test_a_persons_decision_beats_the_vendors_words() -> None:
    words = {"BADGE_NO": "email address"}
    assert run(["BADGE_NO"], label_descriptions=words).taxonomy == (EMAIL,)
    assert run(["BADGE_NO"], decided(BADGE), label_descriptions=words).taxonomy == (BADGE,)


def test_an_error_stays_an_error() -> None:
    result = run({"error": "timeout"}, decided(BADGE, label="error"), decided(label="timeout"))
    assert (result.decision, result.taxonomy) == ("error", ("OTHER.ModelError",))


def test_no_finding_beside_a_failure_is_no_all_clear() -> None:
    output = [{"label": "noise", "score": 0.9}, {"error": "timeout"}]
    before = run(output, detector="in-house")
    assert labels(before) == [("noise", "OTHER.Unknown")]
    result = run(output, decided(label="noise", detector="in-house"), detector="in-house")
    assert (result.decision, result.taxonomy) == ("error", ("OTHER.ModelError",))
    alone = run(output[:1], decided(label="noise", detector="in-house"), detector="in-house")
    assert alone.decision == "safe"


@pytest.mark.parametrize("model_first", [False, True])
def test_models_are_not_asked_what_people_have_decided(model_first: bool) -> None:
    asked: list[str] = []

    def ask(question: Any) -> None:
        asked.append(question.label)

    made = Decisions([decided(BADGE), decided(label="NOISE")])
    item = DetectorOutput("presidio", ["BADGE_NO", "NOISE", "STILL_UNKNOWN"])
    result = engine().map(item, hash_text, made, ask=ask, model_first=model_first)
    assert asked == ["STILL_UNKNOWN"]
    assert labels(result) == [("BADGE_NO", BADGE), ("STILL_UNKNOWN", "OTHER.Unknown")]


def test_labels_of_these_tests_exist() -> None:
    assert {BADGE, EMAIL, "SECRET.Password"} <= set(document("taxonomy", "2026.11")["labels"])


def test_find_tells_what_was_decided() -> None:
    made = Decisions([
        decided(BADGE, version="1"), decided(label="noise"),
        decided(EMAIL, label=None, digest="d" * 32),
    ])  # fmt: skip
    assert made.find("Presidio", "1", "badge_no") == (BADGE,)
    assert made.find("presidio", None, "BADGE_NO") is None
    assert made.find("presidio", "9", "noise") == ()
    assert made.find("presidio", "9", None, "d" * 32) == (EMAIL,)
    assert made.find("presidio", "9", None, "e" * 32) is None
    assert not Decisions([])

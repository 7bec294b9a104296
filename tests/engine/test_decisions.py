"""Decisions, unknown labels, unknown detectors, failures, descriptions, limits."""

from typing import Any

import pytest

from mapping.engine import DetectorOutput, Engine, Knowledge
from mapping.engine.types import MAX_FINDINGS
from tests.engine.support import check, document, hash_text, labels, run


def test_an_unknown_label_is_named_and_low() -> None:
    result = run("presidio", [{"entity_type": "BADGE_NO", "start": 0, "end": 3, "score": 0.7}])
    assert (result.decision, result.severity, result.confidence) == ("fallback", "low", 0.0)
    assert labels(result) == [("BADGE_NO", "OTHER.Unknown")]
    assert (result.findings[0].method, result.findings[0].score) == ("none", 0.7)
    assert result.controls == ()


def test_known_and_unknown_labels_are_both_listed() -> None:
    result = run("presidio", ["PERSON", "BADGE_NO"])
    assert result.decision == "mapped"
    assert result.taxonomy == ("PII.Person.Name", "OTHER.Unknown")
    assert result.confidence == 1.0


def test_a_string_that_is_no_label_leaves_its_hash_alone() -> None:
    text = "call me at jane.roe@example.org please"
    result = run("presidio", [{"entity_type": text, "start": 0, "end": 3, "score": 0.7}])
    (found,) = result.findings
    assert (found.source_label, found.source_digest) == (None, hash_text(text))


@pytest.mark.parametrize("output", ["", "   ", "no", 7, None, True, 3.5, {}, {"a": {"b": []}}])
def test_what_is_no_output_of_the_detector_is_an_error(output: Any) -> None:
    expected = "fallback" if output == "no" else "error"
    result = run("openai-moderation-omni", output)
    assert result.decision == expected
    if expected == "error":
        assert result.taxonomy == ("OTHER.ModelError",)
        assert result.findings[0].method == "error"


@pytest.mark.parametrize(
    "output",
    [
        {"error": {"message": "bad key", "code": "invalid_api_key"}},
        {"message": "Rate exceeded", "__type": "ThrottlingException"},
        {"error": "timeout"},
        {"errors": ["x"]},
        {"code": 503, "message": "unavailable"},
    ],
)
@pytest.mark.parametrize("detector", ["presidio", "openai-moderation-omni", "bandit", "nobody"])
def test_a_stated_failure_is_an_error(detector: str, output: Any) -> None:
    result = run(detector, output)
    assert (result.decision, result.taxonomy) == ("error", ("OTHER.ModelError",))
    assert result.confidence == 1.0


def test_nothing_found_beside_a_failure_is_no_safe_verdict() -> None:
    assert run("bandit", {"results": [], "errors": []}).decision == "safe"
    failed = {"results": [], "errors": [{"filename": "a.py", "reason": "syntax error"}]}
    assert run("bandit", failed).decision == "error"


def test_an_unreadable_record_spoils_a_safe_verdict_but_not_a_finding() -> None:
    good = {"category": "Hate", "severity": 4}
    safe = {"category": "Hate", "severity": 0}
    bad = {"category": "Hate", "severity": "much"}
    analysis = "categoriesAnalysis"
    assert run("azure-content-safety", {analysis: [safe]}).decision == "safe"
    assert run("azure-content-safety", {analysis: [safe, bad]}).decision == "error"
    result = run("azure-content-safety", {analysis: [good, bad]})
    assert result.decision == "mapped"
    assert "1 records unreadable" in (result.notes or "")


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("toxic|hate|pii_detected", ["toxic", "hate", "pii_detected"]),
        ("VIOLENCE", ["VIOLENCE"]),
        (["a", "b"], ["a", "b"]),
        ({"toxic": True, "spam": False}, ["toxic"]),
        ({"toxic": 0.9, "spam": 0.2}, ["toxic"]),
        ([{"label": "INJECTION", "score": 0.99}], ["INJECTION"]),
        ('["x_label"]', ["x_label"]),
    ],
)
def test_labels_of_an_unknown_detector_are_named(output: Any, names: list[str]) -> None:
    result = run("somebody-elses", output)
    assert (result.decision, result.taxonomy) == ("fallback", ("OTHER.Unknown",))
    assert [one.source_label for one in result.findings] == names
    assert (result.detector, result.detector_map) == ("somebody-elses", None)


@pytest.mark.parametrize(
    "output", ["He said that it was fine.", {"a": {"b": 1}}, [], {}, 12, {"id": 4}]
)
def test_other_shapes_of_an_unknown_detector_leave_their_shape(output: Any) -> None:
    result = run("somebody-elses", output)
    assert (result.decision, result.severity, result.findings) == ("fallback", "low", ())
    assert result.taxonomy == ("OTHER.Unknown",)


@pytest.mark.parametrize(
    ("output", "taxonomy"),
    [
        ("toxicity: 0.93", ("HARM.SPEECH.Toxicity",)),
        ("toxicity=0.93, insult=0.2\nthreat = 0.7", ("HARM.SPEECH.Toxicity", "HARM.SPEECH.Threat")),
        ("toxicity: 0.1 | insult: 0", ("OTHER.Safe",)),
        ("toxicity: 7", ("OTHER.Unknown",)),
        ("toxicity: high", ("OTHER.Unknown",)),
        ("mood: 0.9", ("OTHER.Unknown",)),
    ],
)
def test_labels_with_scores_in_a_text(output: str, taxonomy: tuple[str, ...]) -> None:
    assert run("detoxify", output).taxonomy == taxonomy


def test_descriptions_that_name_a_canonical_label_are_used() -> None:
    spans = [
        {"entity_type": name, "start": 0, "end": 3, "score": 0.7} for name in ("A1", "A2", "A3")
    ]
    words = {"A1": "Passport number.", "A2": "PII.Person.Age", "A3": "whatever this may be"}
    result = run("presidio", spans, label_descriptions=words)
    assert labels(result) == [
        ("A1", "PII.Identifier.Passport"),
        ("A2", "PII.Person.Age"),
        ("A3", "OTHER.Unknown"),
    ]
    assert (result.decision, result.confidence) == ("mapped", 0.7)
    assert "whatever" not in repr(result)


def test_a_description_never_overrides_a_rule_or_makes_an_outcome() -> None:
    words = {"US_SSN": "passport number", "A1": "OTHER.Safe", "A2": "safe"}
    result = run("presidio", ["US_SSN", "A1", "A2"], label_descriptions=words)
    assert result.taxonomy == ("PII.Identifier.SSN", "OTHER.Unknown")


def test_findings_are_bounded_and_the_rest_is_counted() -> None:
    result = run("presidio", [f"KIND_{chr(65 + i % 26)}{i}" for i in range(MAX_FINDINGS + 50)])
    assert len(result.findings) == MAX_FINDINGS
    assert "50 findings" in (result.notes or "")


def test_controls_are_those_of_all_labels() -> None:
    both = run("presidio", ["US_SSN", "CREDIT_CARD"]).controls
    single = run("presidio", "US_SSN").controls
    assert set(single) <= set(both)
    assert any(control.startswith("soc2@2017:") for control in single)


def _small(entry: dict[str, Any], **more: Any) -> Engine:
    detector = {
        "detector": "small", "vendor": "Test", "version": "2026.11.1",
        "recipes": [], "labels": {"x": entry}, **more,
    }  # fmt: skip
    return Engine(Knowledge.from_documents(document("taxonomy", "2026.11"), [detector], [], []))


def test_doubtful_mappings_go_to_review() -> None:
    engine = _small({"canonical": "HARM.Other", "confidence": 0.5})
    result = engine.map(DetectorOutput("small", "x"), hash_text)
    check(result)
    assert (result.decision, result.taxonomy, result.confidence) == ("review", ("HARM.Other",), 0.5)


def test_needs_review_alone_is_a_review() -> None:
    engine = _small({"canonical": "OTHER.NeedsReview"})
    assert engine.map(DetectorOutput("small", "x"), hash_text).decision == "review"


def test_the_thresholds_of_label_and_file() -> None:
    engine = _small({"canonical": "HARM.Other", "threshold": 0.9}, threshold=0.2)
    assert engine.map(DetectorOutput("small", {"x": 0.89}), hash_text).decision == "safe"
    assert engine.map(DetectorOutput("small", {"x": 0.9}), hash_text).decision == "mapped"
    engine = _small({"canonical": "HARM.Other"}, threshold=0.2)
    assert engine.map(DetectorOutput("small", {"x": 0.2}), hash_text).decision == "mapped"


def test_the_callers_vendor_wins_over_the_files() -> None:
    assert run("presidio", "US_SSN", vendor="In house").vendor == "In house"

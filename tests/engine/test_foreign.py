"""Outputs of detectors that have no file: what is found, what is not, and what is said of it."""

import json
from typing import Any

import pytest

from tests.engine.support import labels, run

NOBODY = "somebody-elses"
KEY_VALUE = "category: hate\nscore: 0.93\nseverity: high"
HATE_SCORED = {"hate"}


def found(output: Any) -> set[str]:
    """Labels that are recorded for an unknown detector."""
    return {one.source_label or "(digest)" for one in run(NOBODY, output).findings}


@pytest.mark.parametrize(
    "output",
    [
        KEY_VALUE,
        "label=hate score=0.93",
        "2026-11-20 08:00:00 INFO guard label=hate score=0.93 took=12ms",
        "category = hate; score = 0.93",
        "- category: hate\n- score: 93%",
        "Result(label='hate', score=0.93)",
        "[Finding(category='hate', severity=<Severity.HIGH: 'high'>)]",
        "{'label': 'hate', 'score': 0.93}",
        '{"label": "hate", "score": 0.93}',
        json.dumps(json.dumps({"label": "hate", "score": 0.93})),
        '```json\n{"label": "hate", "score": 0.93}\n```',
        'Here is the verdict:\n```json\n{"label": "hate", "score": 0.93}\n```\nLet me know!',
        '08:00:00 INFO guard: {"label": "hate", "score": 0.93}',
        '{"label": "hate", "score": 0.93}\n{"label": "spam", "score": 0.1}',
        'a: {"label": "hate", "score": 0.93}\nb: {"label": "spam", "score": 0.1}',
        "label,score\nhate,0.93\nspam,0.1",
        "| Category | Score |\n|---|---|\n| hate | 0.93 |\n| spam | 0.1 |",
        "hate 0.93\nspam 0.02",
        "hate: 0.93\nspam: 0.02",
        "✅ spam (score: 0.1)\n❌ hate (score: 0.93)",
        [{"label": "hate", "score": 0.93}, {"label": "spam", "score": 0.2}],
        [[{"label": "hate", "score": 0.93}, {"label": "spam", "score": 0.2}]],
        {"data": {"items": [{"deeper": {"category": "hate", "confidence": 0.93}}]}},
        {"hate": 0.93, "spam": 0.1},
        {"hate": True, "spam": False},
        {"scores": {"hate": 0.93, "spam": 0.1}},
        {"categories": {"hate": 1, "spam": 0}},
        {"hate": {"score": 0.93, "flagged": True, "severity": "high"}, "spam": {"flagged": False}},
        {"labels": ["hate", "spam"], "scores": [0.93, 0.1]},
        {"text": "x", "toxicity_check": {"predictions": [{"class": "hate", "probability": 0.93}]}},
        {"flagged": True, "categories": {"hate": True, "spam": False}, "scores": {"hate": 0.4}},
        {"flagged": True, "violated_categories": ["hate"]},
        {"body": '{"results": [{"label": "hate", "score": 0.93}]}'},
        {"choices": [{"message": {"role": "assistant", "content": "unsafe\nhate"}}]},
        [["hate", 0.93], ["spam", 0.1]],
        "unsafe\nhate",
        "hate",
    ],
)  # fmt: skip
def test_a_label_is_found_in_every_common_shape(output: Any) -> None:
    assert found(output) == {"hate"}


def test_scores_and_severities_come_along() -> None:
    (one,) = run(NOBODY, KEY_VALUE).findings
    assert (one.source_label, one.score, one.severity) == ("hate", 0.93, "high")
    (one,) = run(NOBODY, {"flags": {"x": True}, "scores": {"x": 0.7}}).findings
    assert one.score == 0.7


@pytest.mark.parametrize(
    ("stated", "severity"),
    [
        ("HIGH", "high"), ("Moderate", "medium"), ("crit", "critical"), ("note", "info"),
        (0.95, "critical"), (0.5, "medium"), (8, "high"), (9.1, "critical"), (2, "low"),
        (1, "low"), (55, "low"), ("P2", "low"), (None, "low"),  # no scale: as if none were stated
    ],
)  # fmt: skip
def test_severities_by_word_and_number(stated: Any, severity: str) -> None:
    (one,) = run(NOBODY, [{"label": "spam", "severity": stated}]).findings
    assert one.severity == severity


@pytest.mark.parametrize("stated", ["none", "negligible", "safe", 0, 0.0])
def test_a_severity_of_none_is_no_finding(stated: Any) -> None:
    result = run(NOBODY, [{"label": "spam", "severity": stated}])
    assert (result.decision, result.findings) == ("fallback", ())


@pytest.mark.parametrize(
    "output",
    [
        "safe", "Safe.", "no issues found", "PASSED", "not flagged",
        {"flagged": False}, {"passed": True}, {"safe": True}, {"is_valid": True, "score": 0.01},
        {"results": [{"flagged": False, "categories": {"hate": False}}]},
        {"verdict": "safe"}, {"decision": "ALLOW", "reason": "default"},
        [{"label": "safe", "score": 0.98}, {"label": "unsafe", "score": 0.02}],
        {"hate": {"flagged": False}, "spam": {"flagged": False}},
        [{"name": "toxicity", "passed": True}, {"name": "bias", "passed": True}],
        "verdict: safe", {"choices": [{"message": {"role": "assistant", "content": "safe"}}]},
        {"flagged": False, "message": "all done"},
    ],
)  # fmt: skip
def test_a_verdict_on_the_whole_that_nothing_was_found_is_safe(output: Any) -> None:
    result = run(NOBODY, output)
    assert (result.decision, result.taxonomy) == ("safe", ("OTHER.Safe",))


@pytest.mark.parametrize(
    "output",
    [
        {}, [], "", {"results": []}, {"status": "success"}, {"success": True}, {"status": "ok"},
        {"hate": 0.01, "spam": 0.02}, {"hate": False}, "no", "none", "It is safe to say so.",
        [{"label": "hate", "score": 0.1}], {"results": [{"flagged": False}, {"who": {"knows": 1}}]},
        {"results": [{"flagged": False}], "other": [{"unread": {"x": "y"}}]},
        {"action": "NONE", "assessments": [{"unread": {"x": "y"}}]}, {"passed": 1, "fails": 9},
        {"failed": 0, "errors": 0},
    ],
)  # fmt: skip
def test_silence_is_no_verdict(output: Any) -> None:
    assert run(NOBODY, output).decision == "fallback"


@pytest.mark.parametrize(
    "output",
    [
        {"flagged": False, "status": "error"}, {"decision": "allow", "status": "skipped"},
        {"flagged": False, "execution_failed": True}, {"flagged": False, "error": "timed out"},
    ],
)  # fmt: skip
def test_a_failure_is_stronger_than_a_verdict_of_safe(output: Any) -> None:
    assert run(NOBODY, output).decision == "error"


@pytest.mark.parametrize(
    "output",
    [
        {"flagged": True}, {"passed": False}, {"is_safe": False}, "unsafe", "BLOCKED",
        {"results": [{"flagged": True}]}, {"verdict": "unsafe"}, {"action": "GUARDRAIL_INTERVENED"},
        {"flagged": True, "passed": True}, [{"label": "unsafe", "score": 0.9}],
    ],
)  # fmt: skip
def test_a_positive_verdict_without_a_category_is_flagged(output: Any) -> None:
    result = run(NOBODY, output)
    assert (result.decision, result.taxonomy) == ("mapped", ("OTHER.Flagged",))
    assert result.confidence == 0.7


def test_a_name_that_begins_with_no_is_no_verdict() -> None:
    assert found("No Hate Speech") == {"No Hate Speech"}
    assert found([{"label": "No Harassment", "score": 0.9}]) == {"No Harassment"}
    assert found({"label": "safe", "completion_label": "full_refusal"}) == {"full_refusal"}


def test_a_name_that_begins_with_a_verdict_is_a_name() -> None:
    assert found("unsafe-yaml-use") == {"unsafe-yaml-use"}
    assert found("safe-search-off") == {"safe-search-off"}
    assert found("unsafe\nS1, S2") == {"S1", "S2"}
    assert found("unsafe: hate") == {"hate"}
    assert found("unsafe - hate") == {"hate"}


def test_a_category_says_more_than_the_verdict() -> None:
    assert labels(run(NOBODY, {"flagged": True, "category": "hate"})) == [("hate", "OTHER.Unknown")]


def test_a_finding_is_stronger_than_a_verdict_of_safe_above_it() -> None:
    assert found({"flagged": False, "results": [{"label": "hate", "score": 0.9}]}) == {"hate"}
    assert found({"flagged": False, "label": "hate", "severity": "high"}) == set()
    assert found({"action": "none", "blocked": False, "label": "hate", "severity": "high"}) == {
        "hate"
    }
    assert found({"hate": {"filtered": False, "severity": "medium"}}) == {"hate"}


def test_a_place_in_the_text_is_found_whatever_the_score() -> None:
    span = {"type": "PHONE", "start": 3, "end": 12, "score": 0.4}
    assert found([span]) == {"PHONE"}
    assert found([{"label": "PHONE", "score": 0.4}]) == set()
    assert found([{"entity": "B-PER", "score": 0.9, "start": 0, "end": 2}]) == {"PER"}
    assert found({"label": "x_risk", "score": 0.4, "threshold": 0.3}) == {"x_risk"}


@pytest.mark.parametrize(
    "output",
    [
        "The patient said that hate is a strong word.",
        "Dear Ann,\nplease find my address: 4 Elm Road\nYours",
        {"text": "hate", "prompt": "spam", "reason": "violence", "input": {"label": "x"}},
        {"label": "https://example.org/a", "score": 0.2},
        {"message": "hello there", "description": "toxic", "content": "unsafe\nS1"},
        [{"role": "user", "content": "unsafe\nS1"}],
        {"prompt": "{\"label\": \"hate\", \"score\": 0.9}"},
        ["One sentence, and more of it.", "hate"],
        {"model": "guard-1", "version": "2", "temperature": 0.7, "latency": 0.6, "cached": True},
        {"entity_types_checked": ["EMAIL", "SSN"], "enabled_scanners": ["toxicity"]},
        {"thresholds": {"hate": 0.9}, "config": {"labels": ["hate"]}},
        {"rows": 3, "ok": True, "id": "x", "name": "report"},
        "[{\"label\": \"hate\", \"sco", "Result(label='hate', sco",
        {"foo(bar)": True, "a = b": 0.9, "/etc/passwd": True, "run.py": 0.9},
    ],
)  # fmt: skip
def test_content_and_settings_are_no_labels(output: Any) -> None:
    assert found(output) == set()


def test_what_stands_for_a_label_and_is_none_leaves_its_hash_alone() -> None:
    (one,) = run(NOBODY, [{"label": "jane.roe@example.org", "score": 0.9}]).findings
    assert one.source_label is None
    assert one.source_digest


def test_notes_say_what_was_left_out_and_quote_nothing() -> None:
    notes = run(NOBODY, {"hate": 0.9, "spam": 0.1, "wobblefrotz": "quux", "n": 3}).notes
    assert notes == (
        "no detector file for this detector; 2 members ignored; 1 scores under the threshold"
    )


def test_chats_are_read_as_what_the_model_said_last() -> None:
    chat = [
        {"role": "user", "content": "unsafe\nS9"},
        {"role": "assistant", "content": "unsafe\nS1"},
    ]
    assert found([{"generated_text": chat}]) == {"S1"}
    pipeline = [{"generated_text": [{"role": "user", "content": "hello"}, chat[1]]}]
    result = run("llama-guard-3", pipeline)
    assert labels(result) == [("S1", "HARM.CRIME.Violent")]
    assert run("llama-guard-3", [{"generated_text": chat[:1]}]).decision == "error"


@pytest.mark.parametrize("output", ["safe\nS1", "safe, S1", "Safe\nS1,S10"])
@pytest.mark.parametrize("detector", ["llama-guard-3", "llama-guard-4"])
def test_a_verdict_that_contradicts_its_categories_goes_to_review(
    detector: str, output: str
) -> None:
    result = run(detector, output)
    assert (result.decision, result.confidence) == ("review", 0.5)
    assert "HARM.CRIME.Violent" in result.taxonomy
    assert "contradicts itself" in (result.notes or "")


def test_a_list_of_verdicts_does_not_contradict_itself() -> None:
    result = run("llama-guard-3", {"choices": [{"text": "safe"}, {"text": "unsafe\nS1"}]})
    assert (result.decision, result.confidence) == ("mapped", 1.0)

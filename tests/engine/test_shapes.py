"""Native shapes of the detectors, read finding by finding."""

import json
from typing import Any

import pytest

from mapping.engine import Finding
from tests.engine.support import labels, run


def finding(result: Any, source: str) -> Finding:
    """The one finding of a vendor label."""
    (found,) = [one for one in result.findings if one.source_label == source]
    return found


def test_presidio_keeps_scores_and_counts_equal_spans() -> None:
    spans = [
        {"entity_type": "EMAIL_ADDRESS", "start": 4, "end": 20, "score": 1.0},
        {"entity_type": "URL", "start": 4, "end": 9, "score": 0.5},
        {"entity_type": "URL", "start": 12, "end": 20, "score": 0.6},
        {"entity_type": "PERSON", "start": 30, "end": 40, "score": 0.85},
    ]
    result = run("presidio", spans)
    assert result.taxonomy == ("PII.Contact.Email", "PII.Contact.URL", "PII.Person.Name")
    assert result.scores["PII.Contact.URL"] == 0.6
    assert (finding(result, "URL").count, finding(result, "URL").score) == (2, 0.6)
    assert result.confidence == 1.0
    assert result.vendor == "Microsoft"
    assert result.output_shape == {"type": "array", "items": 4}


def test_presidio_printed_list_reads_like_the_json() -> None:
    printed = (
        "[type: US_SSN, start: 3, end: 14, score: 0.85, type: URL, start: 1, end: 2, score: 0.5]"
    )
    spans = [
        {"entity_type": "US_SSN", "start": 3, "end": 14, "score": 0.85},
        {"entity_type": "URL", "start": 1, "end": 2, "score": 0.5},
    ]
    assert run("presidio", printed).findings == run("presidio", spans).findings


def test_a_label_of_several_meanings_gives_a_finding_for_each() -> None:
    result = run("presidio", [{"entity_type": "NRP", "start": 0, "end": 5, "score": 0.85}])
    assert labels(result) == [
        ("NRP", "PII.Special.Nationality"),
        ("NRP", "PII.Special.Religion"),
        ("NRP", "PII.Special.Political"),
    ]


def test_openai_scores_come_from_the_parallel_object() -> None:
    output = {
        "results": [
            {
                "flagged": True,
                "categories": {"hate": False, "violence": True, "sexual/minors": True},
                "category_scores": {"hate": 0.02, "violence": 0.86, "sexual/minors": 0.4},
            }
        ]
    }
    result = run("openai-moderation-omni", output)
    assert finding(result, "violence").score == 0.86
    assert result.scores["HARM.SEXUAL.ChildExploitation"] == 0.4
    assert result.severity == "critical"
    assert "OTHER.Flagged" not in result.taxonomy


def test_openai_attribute_names_are_the_wire_names() -> None:
    printed = (
        "Moderation(categories=Categories(harassment_threatening=True, illicit=None,"
        " self_harm_intent=True), category_scores=CategoryScores(harassment_threatening=0.9,"
        " ...), flagged=True)"
    )
    result = run("openai-moderation-omni", printed)
    assert labels(result) == [
        ("harassment/threatening", "HARM.SPEECH.Threat"),
        ("self-harm/intent", "HARM.SELF_HARM.General"),
    ]
    assert finding(result, "harassment/threatening").score == 0.9


@pytest.mark.parametrize(
    "text", ["unsafe\nS1,S10", "\n\n unsafe\ns1, s10\n", "UNSAFE\r\nS1\r\nS10", "unsafe: S1; S10"]
)
def test_llama_guard_codes_in_any_spelling(text: str) -> None:
    assert labels(run("llama-guard-3", text)) == [
        ("S1", "HARM.CRIME.Violent"),
        ("S10", "HARM.SPEECH.Hate.Other"),
    ]


def test_llama_guard_verdicts_that_glue_code_has_parsed() -> None:
    for output in (
        {"verdict": "unsafe", "categories": ["S1"]},
        {"safety": "unsafe", "categories": "S1"},
        "unsafe\n['S1']",
    ):
        assert labels(run("llama-guard-3", output)) == [("S1", "HARM.CRIME.Violent")]
    assert run("llama-guard-3", {"verdict": "safe", "categories": []}).decision == "safe"


def test_llm_guard_true_means_passed() -> None:
    valid = {"PromptInjection": True, "Toxicity": True}
    risks = {"PromptInjection": 0.0, "Toxicity": -1.0}
    assert run("llm-guard-scanners", ["text", valid, risks]).decision == "safe"
    swapped = {"PromptInjection": False, "Toxicity": True}
    result = run("llm-guard-scanners", ["text", swapped, {"PromptInjection": 0.9}])
    assert labels(result) == [("PromptInjection", "PROMPT_INJECTION.Direct")]
    assert result.findings[0].score == 0.9


def test_azure_severity_is_the_detectors_own() -> None:
    output = {
        "categoriesAnalysis": [
            {"category": "Hate", "severity": 2},
            {"category": "Violence", "severity": 6},
            {"category": "Sexual", "severity": 0},
        ]
    }
    result = run("azure-content-safety", output)
    assert [(one.source_label, one.severity) for one in result.findings] == [
        ("Hate", "low"),
        ("Violence", "high"),
    ]
    assert result.severity == "high"


def test_azure_scores_a_groundedness_finding_with_its_share() -> None:
    result = run("azure-content-safety", {"ungroundedDetected": True, "ungroundedPercentage": 0.25})
    assert result.scores == {"QUALITY.Hallucination": 0.25}


def test_comprehend_compares_labels_but_not_entities_with_the_threshold() -> None:
    entity = {"Entities": [{"Score": 0.2, "Type": "SSN", "BeginOffset": 0, "EndOffset": 9}]}
    assert run("aws-comprehend-pii", entity).scores == {"PII.Identifier.SSN": 0.2}
    assert run("aws-comprehend-pii", {"Labels": [{"Name": "SSN", "Score": 0.2}]}).decision == "safe"


def test_perspective_takes_the_summary_and_not_the_spans() -> None:
    span = {"begin": 0, "end": 5, "score": {"value": 0.99, "type": "PROBABILITY"}}
    output = {
        "attributeScores": {
            "INSULT": {"spanScores": [span], "summaryScore": {"value": 0.3, "type": "PROBABILITY"}}
        }
    }
    assert run("perspective-api", output).decision == "safe"


def test_garak_score_is_the_share_of_failed_answers() -> None:
    row = {"entry_type": "eval", "probe": "dan.Dan_11_0", "detector": "dan.DAN"}
    result = run("garak", {**row, "passed": 3, "total_evaluated": 12})
    assert labels(result) == [("dan.DAN", "JAILBREAK.Persona")]
    assert result.findings[0].score == 0.75
    line = "dan.Dan_11_0      dan.DAN: FAIL  ok on    3/  12   (attack success rate:  75.00%)"
    assert run("garak", line).findings == result.findings


def test_garak_probe_tells_what_a_vague_detector_does_not() -> None:
    row = {"entry_type": "eval", "probe": "fitd.FITD", "passed": 1, "total_evaluated": 4}
    result = run("garak", {**row, "detector": "mitigation.MitigationBypass"})
    assert labels(result) == [("fitd.FITD", "JAILBREAK.MultiTurn")]
    result = run("garak", {**row, "detector": "unsafe_content.LDNOOBW"})
    assert labels(result) == [("unsafe_content.LDNOOBW", "HARM.SPEECH.Profanity")]


def test_nemo_counts_stopped_rails_alone() -> None:
    rails = [
        {"type": "input", "name": "self check input", "stop": False},
        {"type": "input", "name": "jailbreak detection model", "stop": True},
    ]
    result = run("nemo-guardrails", {"log": {"activated_rails": rails}})
    assert labels(result) == [("jailbreak detection model", "JAILBREAK.Attempt")]


@pytest.mark.parametrize(
    ("word", "severity"), [("LOW", "low"), ("MEDIUM", "medium"), ("HIGH", "high")]
)
def test_bandit_severity_is_the_issues_own(word: str, severity: str) -> None:
    issue = {"test_id": "B602", "test_name": "blacklist", "issue_severity": word}
    assert run("bandit", {"results": [issue]}).severity == severity


def test_bandit_without_a_severity_takes_the_taxonomys() -> None:
    issue = {"test_id": "B602", "issue_severity": "UNDEFINED"}
    stated = run("bandit", {"results": [{**issue, "issue_severity": "LOW"}]})
    assert run("bandit", {"results": [issue]}).severity != stated.severity


def test_detoxify_lists_count_each_text() -> None:
    output = {"toxicity": [0.9, 0.8, 0.1], "threat": [0.0, 0.1, 0.2], "male": [0.9, 0.9, 0.9]}
    result = run("detoxify", output)
    assert labels(result) == [("toxicity", "HARM.SPEECH.Toxicity")]
    assert (result.findings[0].count, result.findings[0].score) == (2, 0.9)


def test_detect_secrets_counts_one_kind_over_all_files() -> None:
    secret = {"type": "Private Key", "hashed_secret": "0", "is_verified": False, "line_number": 1}
    result = run("detect-secrets", {"results": {"a.py": [secret, secret], "b.py": [secret]}})
    assert result.findings[0].count == 3
    assert result.severity == "critical"


@pytest.mark.parametrize("wraps", [1, 2])
def test_json_in_json_strings(wraps: int) -> None:
    text = json.dumps([{"entity_type": "PERSON", "start": 0, "end": 4, "score": 0.9}])
    for _ in range(wraps):
        text = json.dumps(text)
    assert run("presidio", text).taxonomy == ("PII.Person.Name",)


def test_json_in_a_fence_and_with_a_byte_order_mark() -> None:
    body = '{"toxicity": 0.9}'
    assert run("detoxify", f"```json\n{body}\n```").taxonomy == ("HARM.SPEECH.Toxicity",)
    assert run("detoxify", f"\ufeff{body}").taxonomy == ("HARM.SPEECH.Toxicity",)


@pytest.mark.parametrize("name", ["Presidio", " presidio ", "PRESIDIO", "presidio-analyzer"])
def test_detector_names_in_any_spelling(name: str) -> None:
    result = run(name, "US_SSN")
    assert (result.detector, result.taxonomy) == ("presidio", ("PII.Identifier.SSN",))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("Llama Guard 3", None),
        ("llama_guard", "3"),
        ("llama-guard", "3-8B"),
        ("Llama-Guard-3-8B", None),
    ],
)
def test_versions_that_belong_to_the_name(name: str, version: str | None) -> None:
    result = run(name, "unsafe\nS5", detector_version=version)
    assert (result.detector, result.taxonomy) == ("llama-guard-3", ("HARM.SPEECH.Defamation",))


def test_another_version_is_another_detector() -> None:
    """S5 is defamation in Llama Guard 3 alone, so it must not be read by its file."""
    result = run("llama-guard", "unsafe\nS5", detector_version="2")
    assert (result.detector, result.taxonomy) == ("llama-guard-2", ("HARM.ADVICE.Other",))
    unknown = run("llama-guard", "unsafe\nS5", detector_version="9")
    assert "HARM.SPEECH.Defamation" not in unknown.taxonomy
    assert (unknown.decision, unknown.detector_map) == ("fallback", None)

"""The hand-decided golden cases, and the label tables of the detector files."""

import json
from typing import Any

import jsonschema
import pytest

from tests.engine.support import FILES, NAMES, document, examples, golden, knowledge, labels, run


@pytest.mark.parametrize("name", NAMES)
def test_golden_cases(name: str) -> None:
    wrong = {case["id"]: found for case in golden(name) if (found := _wrong(name, case))}
    assert not wrong


def _wrong(name: str, case: dict[str, Any]) -> str:
    result = run(name, case["output"], detector_version=case.get("detector_version"))
    expected = case["expect"]
    assert result.detector == name
    assert result.detector_map == knowledge().versions.detector_maps[name]
    severity = expected.get("severity", result.severity)
    answer = (result.decision, sorted(result.taxonomy), result.severity)
    return "" if answer == (expected["decision"], expected["labels"], severity) else str(answer)


@pytest.mark.parametrize("name", NAMES)
def test_golden_cases_cover_all_outcomes(name: str) -> None:
    cases = golden(name)
    assert len(cases) >= 100
    assert len({case["id"] for case in cases}) == len(cases)
    outputs = {json.dumps([case["output"], case.get("detector_version")]) for case in cases}
    assert len(outputs) == len(cases)
    decisions = {case["expect"]["decision"] for case in cases}
    assert {"mapped", "safe", "error", "fallback"} <= decisions
    assert any(len(case["expect"]["labels"]) > 1 for case in cases)


@pytest.mark.parametrize("name", NAMES)
def test_file_keeps_to_its_schema(name: str) -> None:
    schema = json.loads((FILES / "schemas/detector.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document("detectors", name))
    assert document("detectors", name)["detector"] == name


@pytest.mark.parametrize("name", NAMES)
def test_every_label_maps_as_its_file_says(name: str) -> None:
    """By itself, as text: also labels with commas, colons and slashes."""
    for label, entry in document("detectors", name)["labels"].items():
        result = run(name, label)
        if "canonical" in entry:
            targets = entry["canonical"]
            targets = [targets] if isinstance(targets, str) else targets
            assert list(result.taxonomy) == targets, label
            expected = [] if targets == ["OTHER.Safe"] else [(label, one) for one in targets]
            assert labels(result) == expected
        elif "not_a_finding" in entry:
            assert result.decision == "safe", label
        else:
            assert labels(result) == [(label, "OTHER.Unknown")], label


@pytest.mark.parametrize("name", NAMES)
def test_every_label_exists_in_the_taxonomy(name: str) -> None:
    known = document("taxonomy", "2026.11")["labels"]
    for label, entry in document("detectors", name)["labels"].items():
        targets = entry.get("canonical", [])
        for target in [targets] if isinstance(targets, str) else targets:
            assert target in known, label


def test_sizes_of_the_vocabularies() -> None:
    """So that no label is lost by an edit. Counts of the vendors' published vocabularies."""
    published = {
        "aws-comprehend-pii": 37, "azure-content-safety": 12, "bandit": 81, "detect-secrets": 27,
        "detoxify": 19, "garak": 454, "llama-guard-3": 16, "llm-guard-scanners": 40,
        "nemo-guardrails": 80, "openai-moderation-omni": 13, "perspective-api": 22, "presidio": 108,
    }  # fmt: skip
    for name, count in published.items():
        assert len(document("detectors", name)["labels"]) >= count, name


# The demo's table stays short enough to read. The golden cases cover every detector.
SHOWN = {
    "aws-comprehend-pii", "azure-content-safety", "bandit", "detect-secrets", "detoxify", "garak",
    "llama-guard-3", "llm-guard-scanners", "nemo-guardrails", "openai-moderation-omni",
    "perspective-api", "presidio",
}  # fmt: skip


def test_examples_show_twelve_detectors_with_and_without_a_finding() -> None:
    seen: dict[str, set[str]] = {}
    for example in examples():
        result = run(example["detector"], example["output"])
        seen.setdefault(result.detector, set()).add(result.decision)
        assert result.decision in {"mapped", "safe"}
    assert set(seen) == SHOWN
    assert all("mapped" in decisions for decisions in seen.values())
    assert any(len(run(e["detector"], e["output"]).taxonomy) > 1 for e in examples())

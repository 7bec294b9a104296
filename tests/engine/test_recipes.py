"""The recipe language, by small detector files. Shapes are those of detectors still to come."""

from typing import Any

import pytest

from mapping.engine import DetectorOutput, Engine, Knowledge, MappingResult
from mapping.engine.paths import MISSING, compile_many, compile_one
from tests.engine.support import check, document, hash_text, labels

LABELS = {
    "A": {"canonical": "HARM.Other"},
    "B": {"canonical": "PII.Other"},
    "A/x": {"canonical": "BIAS.Gender"},
    "safe": {"canonical": "OTHER.Safe"},
    "flag": {"canonical": "OTHER.Flagged", "generic": True},
}


def small(*recipes: dict[str, Any]) -> Engine:
    """An engine that knows one detector with these recipes."""
    named = [{"name": f"shape {number}", **recipe} for number, recipe in enumerate(recipes)]
    detector = {
        "detector": "small", "vendor": "Test", "version": "2026.11.1", "recipes": named,
        "labels": LABELS,
    }  # fmt: skip
    return Engine(Knowledge.from_documents(document("taxonomy", "2026.11"), [detector], [], []))


def read(output: Any, *readers: dict[str, Any], **recipe: Any) -> MappingResult:
    """Maps an output by one recipe with these readers."""
    engine = small({"read": list(readers), **recipe})
    result = engine.map(DetectorOutput("small", output), hash_text)
    check(result)
    return result


def sources(result: MappingResult) -> list[str | None]:
    """The vendor's labels that were found."""
    return [source for source, _ in labels(result)]


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("$", 5, [5]),
        ("a.b", {"a": {"b": 1}}, [1]),
        ("a.b", {"a": {}}, None),
        ("a[]", {"a": [1, 2]}, [1, 2]),
        ("a[]", {"a": []}, []),
        ("a[].b", {"a": [{"b": 1}, {}, {"b": 3}]}, [1, 3]),
        ("a[].b[]", {"a": []}, []),
        ("a.*[]", {"a": {"x": [1], "y": [2, 3]}}, [1, 2, 3]),
        ("a.*[]", {"a": {}}, []),
        ("[1]", ["x", "y"], ["y"]),
        ("[1]", ["x"], None),
        ("[][]", [[1], [2]], [1, 2]),
        ('a."b.c".d', {"a": {"b.c": {"d": 1}}}, [1]),
        ("*", {"x": 1, "y": 2}, [1, 2]),
        ("a", [1], None),
        ("[]", {"a": 1}, None),
    ],
)
def test_paths(path: str, value: Any, found: list[Any] | None) -> None:
    assert compile_many(path)(value) == found


def test_the_first_of_several_paths_that_exists_counts() -> None:
    assert compile_many(["a[]", "b[]"])({"b": [1]}) == [1]
    assert compile_one(["a", "b"])({"a": None, "b": 2}) == 2
    assert compile_one(["a", "b[]"])({}) is MISSING


@pytest.mark.parametrize("path", ["", "a..b", "a[x]", "a[", ".", "a]", "a.", "[-1]"])
def test_misspelt_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        compile_many(path)


def test_a_label_of_two_fields() -> None:
    reader = {"each": "[]", "label": "kind", "with": "type", "when": [{"path": "score", "is": 0}]}
    rows = [{"kind": "A", "type": "x", "score": 0}, {"kind": "A", "type": "x", "score": 1}]
    assert labels(read(rows, reader)) == [("A/x", "BIAS.Gender")]
    assert labels(read([{"kind": "B", "score": 0}], reader)) == [("B", "PII.Other")]


def test_keys_that_count_by_being_there() -> None:
    output = {"detected": {"A": ["jane.roe@example.org"], "B": {}, "new": []}}
    result = read(output, {"keys": "detected", "polarity": "listed"})
    assert sources(result) == ["A", "B"]  # an empty list lists nothing


def test_keys_with_a_verdict_and_a_severity_in_each_value() -> None:
    words = {"path": "severity", "words": {"safe": "none", "high": "high"}}
    output = {"filters": {"A": {"filtered": True, "severity": "High"}, "B": {"filtered": "False"}}}
    result = read(output, {"keys": "filters", "value": "filtered", "severity": words})
    assert [(f.source_label, f.severity) for f in result.findings] == [("A", "high")]


@pytest.mark.parametrize(
    ("polarity", "value", "found"),
    [
        ("finding", True, True), ("finding", 0.5, True), ("finding", 0.49, False),
        ("finding", "true", True), ("finding", "No", False), ("finding", None, False),
        ("pass", False, True), ("pass", 0.49, True), ("pass", 0.5, False), ("pass", "yes", False),
        ("valid", False, True), ("valid", 0.5, True), ("valid", True, False), ("valid", -1, False),
        ("listed", False, True),
    ],
)  # fmt: skip
def test_polarity(polarity: str, value: Any, found: bool) -> None:
    result = read({"m": {"A": value}}, {"keys": "m", "polarity": polarity})
    assert result.decision == ("mapped" if found else "safe")
    result = read(
        {"label": "A", "v": value}, {"label": "label", "value": "v", "polarity": polarity}
    )
    assert result.decision == ("mapped" if found else "safe")


def test_a_low_quality_score_is_a_high_finding_score() -> None:
    result = read({"m": {"A": 0.2}}, {"keys": "m", "polarity": "pass"})
    assert result.scores == {"HARM.Other": 0.8}


@pytest.mark.parametrize("value", [7, 1.5, "97", "high", {"a": 1}, float("inf"), -3])
def test_what_is_no_verdict_is_unreadable(value: Any) -> None:
    assert read({"m": {"A": value}}, {"keys": "m"}).decision == "error"


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ({"is": "On"}, [{"x": "on"}]), ({"is": True}, [{"x": True}, {"x": "True"}]),
        ({"is": 0}, [{"x": 0}]), ({"is": [1, "a"]}, [{"x": 1}, {"x": "A"}]),
        ({"is_not": False}, [{"x": True}, {}]), ({"at_least": 2}, [{"x": 2}, {"x": "3"}]),
        ({"below": "y"}, [{"x": 1, "y": 2}]), ({"matches": "^a.c$"}, [{"x": "abc"}]),
        ({"present": True}, [{"x": None}]), ({"present": False}, [{}]),
    ],
)  # fmt: skip
def test_conditions(condition: dict[str, Any], met: list[dict[str, Any]]) -> None:
    reader = {"name": "A", "when": [{"path": "x", **condition}]}
    for record in met:
        assert read(record, reader).decision == "mapped"
    unmet = {"x": 9, "y": 3} if "present" in condition or "below" in condition else {"x": False}
    if "at_least" in condition or condition.get("present") is True:
        unmet = {"x": 1} if "at_least" in condition else {}
    assert read(unmet, reader).decision == "safe"


def test_a_condition_that_cannot_be_told_is_unreadable() -> None:
    reader = {"name": "A", "when": [{"path": "x", "at_least": 2}]}
    assert read({}, reader).decision == "error"


def test_labels_in_one_text_are_split_and_extracted() -> None:
    assert sources(read({"l": "A|B"}, {"label": "l", "split": r"\|"})) == ["A", "B"]
    assert sources(read({"l": "I-A"}, {"label": "l", "extract": r"^(?:[BI]-)?(.+)$"})) == ["A"]
    assert sources(read("x [A] y [B]", {"label": "l"}, text=r"\[(?P<l>\w+)\]")) == ["A", "B"]
    assert read({"l": "none of them"}, {"label": "l", "extract": "<(.)>"}).decision == "safe"


def test_a_generic_label_yields_to_another() -> None:
    readers = [{"name": "flag", "value": "bad"}, {"each": "kinds[]", "label": "$"}]
    assert sources(read({"bad": True, "kinds": []}, *readers)) == ["flag"]
    assert sources(read({"bad": True, "kinds": ["A"]}, *readers)) == ["A"]
    assert sources(read({"bad": True, "kinds": ["new"]}, *readers)) == ["flag", "new"]


def test_failed_records_and_empty_ones() -> None:
    reader = {"each": "[]", "name": "A", "failed": [{"path": "total", "is": 0}], "nonempty": True}
    result = read([{"total": 0}], reader)
    assert (result.decision, result.confidence) == ("error", 1.0)
    assert read([{"total": 0}, {"total": 1}], reader).decision == "mapped"
    assert read([], reader).decision == "error"
    assert read([], {**reader, "nonempty": False}).decision == "safe"


def test_the_first_recipe_that_fits_wins() -> None:
    engine = small(
        {"when": [{"path": "v", "is": 2}], "read": [{"name": "B"}]},
        {"read": [{"keys": "m"}]},
        {"read": [{"name": "A", "when": [{"path": "x", "present": True}]}]},
    )
    outputs: list[Any] = [{"v": 2}, {"v": 1, "m": {"A": True}}, {"x": 1}]
    answers = [engine.map(DetectorOutput("small", output), hash_text) for output in outputs]
    assert [sources(answer) for answer in answers] == [["B"], ["A"], ["A"]]
    assert [answer.notes for answer in answers] == [f"read as shape {i}" for i in range(3)]


def test_unwrapped_outputs_are_read_like_outputs() -> None:
    engine = small({"unwrap": ["choices[].text", "body"]}, {"read": [{"each": "[]", "label": "l"}]})
    for output in (
        {"choices": [{"text": "A"}, {"text": "B"}]},
        {"body": '[{"l": "A"}, {"l": "B"}]'},
        {"body": {"body": ["A", "B"]}},
    ):
        answer = engine.map(DetectorOutput("small", output), hash_text)
        assert sources(answer) == ["A", "B"]
    half = {"choices": [{"text": "A"}, {"text": "No label stands in this sentence."}]}
    answer = engine.map(DetectorOutput("small", half), hash_text)
    assert (answer.decision, sources(answer)) == ("mapped", ["A"])
    assert "1 records unreadable" in (answer.notes or "")


def test_numbers_as_labels() -> None:
    result = read([{"l": 7}], {"each": "[]", "label": "l"})
    assert labels(result) == [("7", "OTHER.Unknown")]


def test_scores_over_a_total_and_on_a_scale() -> None:
    over = {"path": "ok", "over": "all", "invert": True}
    assert read({"ok": 3, "all": 4}, {"name": "A", "score": over}).scores == {"HARM.Other": 0.25}
    scale = {"path": "level", "max": 5}
    assert read({"level": 4}, {"name": "A", "score": scale}).scores == {"HARM.Other": 0.8}
    assert read({"level": "40%"}, {"name": "A", "score": "level"}).scores == {"HARM.Other": 0.4}
    assert read({"ok": 0, "all": 0}, {"name": "A", "score": over}).findings[0].score is None

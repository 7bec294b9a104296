"""The engine never raises and always answers in good form, whatever comes."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.engine import DetectorOutput
from tests.engine.support import NAMES, check, document, engine, hash_text, many_outputs, run

OUTPUTS = list(many_outputs())
detectors = st.sampled_from([*NAMES, "nobody-knows", ""])
words = st.sampled_from(
    [
        *(label for name in NAMES for label in list(document("detectors", name)["labels"])[:20]),
        "results", "categories", "category_scores", "flagged", "label", "score", "type", "severity",
        "entity_type", "log", "activated_rails", "name", "stop", "attributeScores", "summaryScore",
        "value", "Entities", "Labels", "Type", "Name", "Score", "categoriesAnalysis", "category",
        "detector_results", "entry_type", "passed", "total_evaluated", "choices", "message",
        "content", "is_valid", "scanners", "error", "errors", "unsafe", "safe",
    ]
)  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), words,
    st.sampled_from([10**400, -1.0, float("nan"), float("inf"), "\ud800", "1e999", "9" * 5000]),
)  # fmt: skip
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(words, st.text(max_size=10)), inner, max_size=6),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.integers(), st.booleans(), st.none()), inner, max_size=2),
    ),
    max_leaves=25,
)


@settings(max_examples=1_000, deadline=None)
@given(detectors, anything)
def test_any_structure(detector: str, output: Any) -> None:
    run(detector, output)


@settings(max_examples=600, deadline=None)
@given(detectors, st.text(max_size=200))
def test_any_text(detector: str, output: str) -> None:
    run(detector, output)


@settings(max_examples=600, deadline=None)
@given(detectors, anything)
def test_any_structure_as_python_or_json_text(detector: str, output: Any) -> None:
    run(detector, repr(output))
    try:
        text = json.dumps(output)
    except (TypeError, ValueError):  # keys that JSON cannot have, huge integers
        return
    run(detector, text)
    run(detector, json.dumps(text))


def _replaced(value: Any, junk: Any, random: Any) -> Any:
    """The value with junk at one random place."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        return {**value, key: _replaced(value[key], junk, random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], _replaced(value[place], junk, random), *value[place + 1 :]]
    return junk


@settings(max_examples=1_000, deadline=None)
@given(st.sampled_from(OUTPUTS), anything, st.randoms())
def test_real_outputs_with_junk_at_one_place(case: tuple[str, Any], junk: Any, random: Any) -> None:
    run(case[0], _replaced(case[1], junk, random))


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(OUTPUTS), st.integers(0, 400), st.text(max_size=5))
def test_real_outputs_cut_off(case: tuple[str, Any], length: int, tail: str) -> None:
    text = case[1] if isinstance(case[1], str) else json.dumps(case[1])
    run(case[0], text[:length] + tail)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(OUTPUTS), st.sampled_from(NAMES))
def test_real_outputs_of_another_detector(case: tuple[str, Any], name: str) -> None:
    run(name, case[1])


@settings(max_examples=300, deadline=None)
@given(detectors, anything, anything, anything)
def test_any_other_field(detector: str, version: Any, vendor: Any, descriptions: Any) -> None:
    output = DetectorOutput(detector, ["US_SSN", "X"], version, vendor, descriptions)
    check(engine().map(output, hash_text))


@pytest.mark.parametrize("name", [*NAMES, "nobody-knows"])
def test_the_same_output_gets_the_same_answer(name: str) -> None:
    for detector, output in OUTPUTS:
        if detector == name:
            assert run(name, output) == run(name, output)


def _deep(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"results": value, "content": value}
    return value


HUGE: dict[str, Any] = {
    "deep": _deep(5_000),
    "many-spans": [{"entity_type": f"T{i}", "score": 0.5} for i in range(5_000)],
    "many-keys": {f"k{i}": True for i in range(10_000)},
    "many-choices": {"choices": [{"message": {"content": "unsafe\nS1"}}] * 5_000},
    "wraps": {"content": {"content": {"content": {"content": {"content": "unsafe\nS1"}}}}},
    "strings": ["PERSON"] * 50_000,
    "long": "x" * 500_000,
    "spaces": "unsafe\n" + " " * 65_000 + "!",
    "codes": "unsafe\n" + "S1," * 20_000 + "!",
    "codes-without-end": "unsafe " + "S1 " * 20_000,
    "tokens": "<|a|>" * 13_000,
    "brackets": "[B101:x] " * 7_000,
    "issues": "Issue: from B101:x: Severity " * 2_500,
    "severities": "[B101:x]" + " Severity:" * 6_000,
    "types": "type: X, start: 1, end: 2, score: " * 2_000,
    "colons": "A :" * 20_000,
    "plugins": "AWSKeyDetector" + " " * 65_000 + ": True",
    "words": "a b " * 16_000,
    "underscores": "_" * 65_000,
    "dots": "a." * 32_000,
    "console": ("dan.Dan_11_0" + " " * 190) * 320,
    "commas": "," * 65_000,
    "csv": "a,b,B101,HIGH" * 5_000,
    "bars": "a|" * 32_000,
    "quotes": "by the '" * 8_000,
    "at": "a@" * 32_000,
    "hex": "0123456789abcdef:" * 3_800,
    "digits": "1 " * 32_000,
    "escapes": "\x1b[1m" * 16_000,
    "newlines": "\n" * 65_000,
}


@pytest.mark.parametrize("shape", HUGE)
def test_huge_outputs_are_answered_in_linear_time(shape: str) -> None:
    for name in [*NAMES, "nobody-knows"]:
        started = time.thread_time()
        run(name, HUGE[shape])
        # Against quadratic work on 64 KiB, not a measure of speed: linear work takes below 0.3 s.
        assert time.thread_time() - started < 2.0, name


def test_a_hash_that_fails_is_no_crash_and_leaks_nothing() -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    output = DetectorOutput("presidio", ["jane.roe@example.org"])
    result = engine().map(output, broken)
    check(result)
    assert result.decision == "error"
    assert "jane" not in repr(result)

"""What holds for every output of a detector without a file, however it is changed."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.support import many_outputs, run

NOBODY = "somebody-elses"
OUTPUTS = [output for _, output in many_outputs()]
STRUCTURES = [output for output in OUTPUTS if isinstance(output, dict | list)]
LABELS = st.sampled_from(
    ["hate", "PII_EMAIL", "self-harm/intent", "prompt injection", "S1", "spam"]
)
SCORES = st.one_of(st.none(), st.floats(0, 1), st.booleans())
RECORD = st.fixed_dictionaries(
    {"label": LABELS},
    optional={
        "score": st.floats(0, 1),
        "flagged": st.booleans(),
        "severity": st.sampled_from("ab"),
    },
)
MADE = st.one_of(
    st.lists(RECORD, max_size=4),
    st.dictionaries(LABELS, SCORES, max_size=4),
    st.fixed_dictionaries({"results": st.lists(st.dictionaries(LABELS, RECORD, max_size=3))}),
    st.fixed_dictionaries({"flagged": st.booleans(), "scores": st.dictionaries(LABELS, SCORES)}),
)
# Names that no tool means anything by, so that a member of theirs says nothing.
UNRELATED = {"wobblefrotz": "quux", "quuxbury": [1, 2], "frabjous": 42}


def found(output: Any) -> set[tuple[str | None, str | None]]:
    return {(one.source_label, one.source_digest) for one in run(NOBODY, output).findings}


def shuffled(value: Any, rng: random.Random) -> Any:
    """Members and records in another order. Lists of other things stay: they may be pairs."""
    if isinstance(value, dict):
        pairs = [(key, shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(pairs)
        return dict(pairs)
    if isinstance(value, list):
        items = [shuffled(one, rng) for one in value]
        if all(isinstance(one, dict) for one in items) and not any("role" in one for one in items):
            rng.shuffle(items)
        return items
    return value


def with_unrelated(value: Any, rng: random.Random) -> Any:
    """A member that has nothing to do with it in every object that is no map of labels."""
    if isinstance(value, dict):
        inner = {key: with_unrelated(one, rng) for key, one in value.items()}
        name = rng.choice(list(UNRELATED))
        return inner | {name: UNRELATED[name]}
    return [with_unrelated(one, rng) for one in value] if isinstance(value, list) else value


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.sampled_from(STRUCTURES), MADE), st.integers(0, 10**6))
def test_order_changes_no_label(output: Any, seed: int) -> None:
    assert found(shuffled(output, random.Random(seed))) == found(output)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.sampled_from(STRUCTURES), MADE), st.integers(0, 10**6))
def test_an_unrelated_member_removes_no_finding(output: Any, seed: int) -> None:
    assert found(with_unrelated(output, random.Random(seed))) >= found(output)


@pytest.mark.xfail(reason="known limit: such a record is taken for a group of findings")
def test_nor_does_an_object_in_a_record_whose_label_is_its_type() -> None:
    record = {"match": "x", "type": "PROFANITY", "action": "BLOCKED"}
    output = {"action": "GUARDRAIL_INTERVENED", "lists": [record]}
    extended = {"action": "GUARDRAIL_INTERVENED", "lists": [record | {"zorble": {"a": {"b": "c"}}}]}
    assert found(extended) >= found(output)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.sampled_from(OUTPUTS), MADE))
def test_the_same_output_has_the_same_answer(output: Any) -> None:
    assert run(NOBODY, output) == run(NOBODY, output)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.sampled_from(STRUCTURES), MADE))
def test_a_structure_reads_the_same_as_json_text(output: Any) -> None:
    text = json.dumps(output)
    assert found(text) == found(output)
    assert found(f"```json\n{text}\n```") == found(output)


@pytest.mark.parametrize("levels", [1, 10, 29])
def test_a_record_is_found_as_deep_as_the_api_lets_it_be(levels: int) -> None:
    output: Any = [{"label": "hate", "score": 0.9}]
    for level in range(levels):
        output = {f"level{level}": output} if level % 2 else [output]
    assert found(output) == {("hate", None)}


def test_too_deep_is_no_verdict_of_safe() -> None:
    output: Any = {"label": "hate", "score": 0.9}
    for _ in range(100):
        output = {"deeper": output}
    result = run(NOBODY, {"flagged": False, "more": output})
    assert result.decision == "fallback"

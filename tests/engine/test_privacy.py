"""Raw text never comes back, wherever in an output it stands.

A canary of each kind is put at every place of every golden and example output: in place of each
string, as a key, as a value of each list and object, and between the words of texts.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.engine import MappingResult
from tests.engine.support import NAMES, hash_text, many_outputs, run

CANARIES = {
    "sentence": "Zebulon told the nurse that his knee hurts.",
    "short-sentence": "my zebulon is the best",
    "email": "zebulon.quux@example.org",
    "ssn": "078-05-1120",
    "bare-ssn": "078051120",
    "card": "4111 1111 1111 1111",
    "phone": "+1 415 555 0132",
    "iban": "DE89370400440532013000",
    "ip": "203.0.113.77",
    "aws": "AKIAZEBULONQUUX00042",
    "key": "sk-proj-zebulonquux0123456789abcd",
    "random": "q7Zx2Lm9Kp4Rt8Vb3Nw6Jd",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ6ZWJ1bG9uIn0.c2lnbmF0dXJl",
    "surrogate": "zebulon \ud800 quux",
    "long": "zebulon " * 40,
}
OUTPUTS = list(many_outputs())


def planted(value: Any, canary: str) -> Iterator[Any]:
    """Copies of the value, each with the canary at one place."""
    if isinstance(value, dict):
        yield {**value, canary: True}
        yield {**value, canary: 0.99}
        yield {**value, canary: canary}
        for key, inner in value.items():
            yield {(canary if k == key else k): v for k, v in value.items()}
            for changed in planted(inner, canary):
                yield {**value, key: changed}
    elif isinstance(value, list):
        yield [*value, canary]
        yield [canary]
        yield [*value, {canary: True, "label": canary, "type": canary, "entity_type": canary}]
        for place, inner in enumerate(value):
            for changed in planted(inner, canary):
                yield [*value[:place], changed, *value[place + 1 :]]
    else:
        yield canary
        if isinstance(value, str):
            yield from planted_text(value, canary)


def planted_text(text: str, canary: str) -> Iterator[str]:
    """Copies of a text: the canary before, after, and in place of each of its words."""
    yield f"{canary}\n{text}"
    yield f"{text}\n{canary}"
    yield f"{text}, {canary}"
    words = list(re.finditer(r"[^\s\"'{}\[\](),:=]+", text))
    for word in words[:: max(1, len(words) // 40)]:
        yield text[: word.start()] + canary + text[word.end() :]


@cache
def in_lower_case(controls: tuple[str, ...]) -> str:
    """The longest part of an answer, as text; thousands of answers have the same."""
    return repr(controls).casefold()


@cache
def traces(canary: str) -> tuple[str, ...]:
    """What would give it away: the parts of 8 characters or more, as text and as its repr."""
    parts = [part for part in (canary, *canary.split()) if len(part) >= 8 or part == canary]
    folded = {part.casefold() for part in parts}
    return (*folded, *(repr(part)[1:-1] for part in folded))


def assert_kept_out(result: MappingResult, canary: str) -> None:
    """No part of the canary of 8 characters or more is anywhere in the answer."""
    shown = in_lower_case(result.controls) + repr(result._replace(controls=())).casefold()
    for trace in traces(canary):
        assert trace not in shown


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES)
@pytest.mark.parametrize("name", NAMES)
def test_no_canary_comes_back(name: str, canary: str) -> None:
    for output in [output for detector, output in OUTPUTS if detector == name]:
        for changed in planted(output, canary):
            assert_kept_out(run(name, changed), canary)


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES)
def test_no_canary_of_an_unknown_detector_comes_back(canary: str) -> None:
    for shape in (
        canary, [canary], {canary: True}, {canary: 0.9}, [{"label": canary, "score": 0.9}],
        f"toxic|{canary}", {"a": {"b": canary}}, [[canary]], [{canary: canary}], json.dumps(canary),
    ):  # fmt: skip
        assert_kept_out(run("somebody-elses", shape), canary)


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES)
def test_no_canary_comes_back_from_real_outputs_of_an_unknown_detector(canary: str) -> None:
    for _, output in OUTPUTS[::40]:
        for changed in planted(output, canary):
            assert_kept_out(run("somebody-elses", changed), canary)


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES)
def test_no_canary_comes_back_through_the_other_fields(canary: str) -> None:
    spans = [{"entity_type": "BADGE_NO", "start": 0, "end": 3, "score": 0.7}]
    words = {"BADGE_NO": canary, canary: "passport number"}
    assert_kept_out(run("presidio", spans, label_descriptions=words), canary)
    assert_kept_out(run("presidio", spans, detector_version=canary), canary)
    assert_kept_out(run("presidio", spans, vendor=canary), canary)
    assert_kept_out(run(canary, spans), canary)


TEXTS = {
    "llm-guard-scanners": "('{}', {{'Secrets': False}}, {{'Secrets': 1.0}})",
    "bandit": "Issue: '{}' from B307:blacklist: CWE: CWE-78, Severity: MEDIUM at {}:7:4",
    "nemo-guardrails": '{{"type": "InputRailException", "message": "blocked by the \'{}\' flow."}}',
    "detect-secrets": "AWSKeyDetector: True ({})\n{}: True",
    "garak": "dan.Dan_11_0   dan.DAN: FAIL  ok on  3/  5\n❌ {}",
    "llama-guard-3": "unsafe\nS1\n{}",
    "presidio": "type: PERSON, start: 0, end: 4, score: 1 {} type: {}, start: 1, end: 2, score: 1",
    "openai-moderation-omni": "Moderation(categories=Categories(hate=True), id='{}', flagged=True)",
}


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES)
@pytest.mark.parametrize("name", TEXTS)
def test_no_canary_in_a_text_form_comes_back(name: str, canary: str) -> None:
    assert_kept_out(run(name, TEXTS[name].replace("{}", canary).replace("{{", "{")), canary)


def test_what_may_not_be_recorded_can_still_be_told_apart() -> None:
    """Two persons' e-mail addresses in the place of a label give two digests."""
    spans = [{"entity_type": f"{who}@example.org"} for who in ("jane", "john")]
    digests = [finding.source_digest for finding in run("presidio", spans).findings]
    assert digests == [hash_text("jane@example.org"), hash_text("john@example.org")]


emails = st.from_regex(r"[a-z]{3,12}\.[a-z]{3,12}@[a-z]{3,12}\.(?:com|org)", fullmatch=True)
ssns = st.from_regex(r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", fullmatch=True)
keys = st.from_regex(r"(?:ghp_|sk_live_|AKIA)[A-Z0-9]{20}", fullmatch=True)
cards = st.from_regex(r"4[0-9]{3}( |-|)[0-9]{4}\1[0-9]{4}\1[0-9]{4}", fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(st.one_of(emails, ssns, keys, cards), st.sampled_from(OUTPUTS), st.randoms())
def test_no_generated_canary_comes_back(canary: str, case: tuple[str, Any], random: Any) -> None:
    name, output = case
    changed = random.choice(list(planted(output, canary)))
    assert_kept_out(run(name, changed), canary)

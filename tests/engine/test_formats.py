"""Text to structure."""

import json
import math
import time
from typing import Any

import pytest

from mapping.engine.formats import UNPARSED, parse_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[]", []),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('{"a": 1}\r\n\r\n{"b": "x\u2028y"}', [{"a": 1}, {"b": "x\u2028y"}]),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ("('x', {'a': False}, {'a': -1.0})", ["x", {"a": False}, {"a": -1.0}]),
        ("{'a', 'b'}", ["a", "b"]),
        ('{\'it\\\'s\': "a \\"b\\"\\n\\x41\\u00e9"}', {"it's": 'a "b"\nAé'}),
        ("[1, -2.5e3, +7, .5]", [1, -2500.0, 7, 0.5]),
        ("A(b=C(d=True, ...), e=[F(g='h')])", {"b": {"d": True}, "e": [{"g": "h"}]}),
        ("A(b=False, ... c=True)", {"b": False, "c": True}),
        ("R(level=<Level.HIGH: 'high'>, kind=<Kind.A: 1>)", {"level": "high", "kind": 1}),
        ("[<Filth text='x' beg=1 end=2>]", [{"text": "x", "beg": 1, "end": 2}]),
        ("{'a': array([0.5, 0.25], dtype=float32)}", {"a": [0.5, 0.25]}),
        ("{'a': np.float32(0.5)}", {"a": 0.5}),
        ("{u'a': b'c'}", {"a": "c"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('"plain"', "plain"),
        ('```json\n{"a": 1}\n```', {"a": 1}),
    ],
)
def test_structures(text: str, value: Any) -> None:
    assert parse_text(text) == value


def test_numbers_that_json_does_not_know() -> None:
    value = parse_text('{"a": NaN, "b": [Infinity, -Infinity]}')
    assert math.isnan(value["a"])
    assert value["b"] == [math.inf, -math.inf]
    assert math.isnan(parse_text("{'a': nan}")["a"])


@pytest.mark.parametrize(
    "text",
    [
        "", "unsafe\nS1", "US_SSN", '{"a": ', "[1, 2", "{'a': 1", "('x',", "A(b=",
        "no (really) not", "[NAME] called [PHONE]", "{a b: c}",
        "{'a': __import__('os').system('true') + 1}", "[}",
        "{[1]: 2}", "lambda: 1", "'a' 'b'", "()()()", "A()B", "<a", "[<a:>]", "```",
        "{'a': 1} rest",
    ],
)  # fmt: skip
def test_plain_text(text: str) -> None:
    assert parse_text(text) is UNPARSED


def test_nothing_is_evaluated() -> None:
    assert parse_text("{'a': exit(3)}") == {"a": 3}
    assert parse_text("[9 ** 9 ** 9]") is UNPARSED


HOSTILE = {
    "deep-json": "[" * 100_000 + "]" * 100_000,
    "deep-objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep-calls": "A(a=" * 50_000 + ")" * 50_000,
    "deep-repr": "(" * 50_000,
    "long-int": '{"a": ' + "9" * 10_000 + "}",
    "long-int-repr": "{'a': " + "9" * 10_000 + "}",
    "long-exponent": "{'a': 1e" + "9" * 10_000 + "}",
    "open-strings": "{'" + "\\'" * 30_000,
    "commas": "[" + "," * 60_000 + "]",
    "names": "A(" + "b " * 30_000 + ")",
    "spaces": "{" + " " * 60_000 + "x",
    "nested-texts": json.dumps(json.dumps(json.dumps(json.dumps(json.dumps(json.dumps([])))))),
    "lines": '{"a": 1}\n' * 7_000 + "{",
    "minus": "-" * 60_000 + "1",
    "nul": "\0" * 60_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_read_or_refused_quickly(text: str) -> None:
    started = time.process_time()
    parse_text(text)
    # A bound against quadratic work, not a measure of speed: linear work takes some 50 ms.
    assert time.process_time() - started < 2.0

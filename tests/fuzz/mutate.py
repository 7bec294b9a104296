"""Changes real outputs in the ways that outputs go wrong, and in those that an attacker would try.

Everything follows from a seed: the same one makes the same outputs.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.engine.support import NAMES, examples, golden
from tests.privacy.canaries import CANARIES

UNKNOWN = ("a-detector-without-a-file", "Somebody's Scanner 2", "x", "llama-guard-99")
ITEM_BYTES = 65_536  # limits.item_bytes as shipped
LEVELS = 32  # limits.nesting_depth as shipped
NEEDLES = tuple(text for text, _ in CANARIES.values())
HOSTILE = (
    "\ud800", "\udfff\ud800", "\u202e\u2066evil\u2069", "\u200b\u200d\ufeff", "\0", "\x1b[2J",
    "\x7f",
    "e" + "\u0301" * 300, "Z̴̘͑" * 60, "🦓" * 40,
    "\U0010ffff", "\ufffe", "ﷺ" * 30, "ß" * 50, "İ" * 50,
    "\uff46\uff4c\uff41\uff47\uff47\uff45\uff44", "lab\u0435l", "\u2028\u2029", "\r\n\r\n",
    "%00%0a", "${jndi:ldap://x}", "'; DROP TABLE x;--",
    "{{7*7}}", "<script>alert(1)</script>", "../../etc/passwd", "\\u0000", "\\ud800",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, -0.0, 10**30, -(10**400),
    10**400, 2**53 + 1, 2**63, 2**64, -1, 0, 1, 0.5, 1.0000001, 100, "1e400", "NaN", "0x10",
    "1_000",
    "\u0660.\u0669", "½", "99%", "-5%", "1e-400", "9" * 5_000, True, False, None,
)  # fmt: skip
KEYS: tuple[Any, ...] = (
    "", " ", "\0", "__proto__", "constructor", "$ref", "a" * 300, "label", "score", "flagged",
    "safe",
    "error", "role", "results", "categories", 0, 1.5, True, None, float("nan"), (1, 2), b"label",
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    [], {}, [[]], [{}], {"": {}}, [None] * 5, {"label": {}}, {"label": []},
    {"score": {"value": []}},
    "", " ", "null", "[]", "{", b"\xff\x00bytes", bytearray(b"x"), {1, 2}, object, 1j, range(3),
)  # fmt: skip


def corpus() -> list[tuple[str, Any]]:
    """Every golden and example output, with its detector."""
    found = [(name, case["output"]) for name in NAMES for case in golden(name)]
    return [*found, *((one["detector"], one["output"]) for one in examples())]


class Mutator:
    """Makes changed outputs. `as_json`: only such as a request can carry."""

    def __init__(self, seed: int, *, as_json: bool) -> None:
        self._random = random.Random(seed)
        self._as_json = as_json
        self._corpus = corpus()
        self._ways: list[Callable[[Any], Any]] = [
            self._junk, self._number, self._hostile, self._needle, self._needle, self._key,
            self._drop, self._twice, self._shuffle, self._deep, self._cut, self._as_text,
            self._odd_json, self._binary, self._wrap,
        ]  # fmt: skip

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Detector and output, without end."""
        while True:
            name, output = self._random.choice(self._corpus)
            for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 4))):
                output = self._random.choice(self._ways)(output)
            if self._random.random() < 0.004:
                output = self._huge(output)
            yield self._detector(name), output

    def _detector(self, name: str) -> str:
        chance = self._random.random()
        if chance < 0.3:
            return self._random.choice(UNKNOWN)
        return self._random.choice(NAMES) if chance < 0.4 else name

    def _replace(self, value: Any, change: Callable[[Any], Any]) -> Any:
        """A copy with one random place changed."""
        if isinstance(value, dict) and value and self._random.random() < 0.85:
            key = self._random.choice(list(value))
            return {**value, key: self._replace(value[key], change)}
        if isinstance(value, list) and value and self._random.random() < 0.85:
            place = self._random.randrange(len(value))
            return [*value[:place], self._replace(value[place], change), *value[place + 1 :]]
        return change(value)

    def _junk(self, output: Any) -> Any:
        junk = [one for one in JUNK if not self._as_json or isinstance(one, str | list | dict)]
        return self._replace(output, lambda _: self._random.choice(junk))

    def _number(self, output: Any) -> Any:
        return self._replace(output, lambda _: self._random.choice(NUMBERS))

    def _hostile(self, output: Any) -> Any:
        return self._replace(output, lambda old: self._into(old, self._random.choice(HOSTILE)))

    def _needle(self, output: Any) -> Any:
        return self._replace(output, lambda old: self._into(old, self._random.choice(NEEDLES)))

    def _into(self, old: Any, text: str) -> Any:
        if not isinstance(old, str) or self._random.random() < 0.4:
            return self._random.choice((text, [text], {text: True}, {"label": text, "score": 0.9}))
        place = self._random.randrange(len(old) + 1)
        joint = self._random.choice(("", " ", "\n", ", ", "|", ": "))
        return old[:place] + joint + text + joint + old[place:]

    def _key(self, output: Any) -> Any:
        keys = [one for one in (*KEYS, *NEEDLES) if not self._as_json or isinstance(one, str)]

        def rename(value: Any) -> Any:
            key = self._random.choice(keys)
            if not isinstance(value, dict) or not value:
                return {key: value}
            old = self._random.choice(list(value))
            return {(key if one == old else one): inner for one, inner in value.items()}

        return self._replace(output, rename)

    def _drop(self, output: Any) -> Any:
        def drop(value: Any) -> Any:
            if isinstance(value, dict) and value:
                gone = self._random.choice(list(value))
                return {key: inner for key, inner in value.items() if key != gone}
            return value[1:] if isinstance(value, list | str) else None

        return self._replace(output, drop)

    def _twice(self, output: Any) -> Any:
        return self._random.choice(([output, output], [output] * 20, {"results": [output, output]}))

    def _shuffle(self, output: Any, levels: int = 20) -> Any:
        if not levels:
            return output
        if isinstance(output, dict):
            pairs = [(key, self._shuffle(inner, levels - 1)) for key, inner in output.items()]
            self._random.shuffle(pairs)
            return dict(pairs)
        if isinstance(output, list):
            return [self._shuffle(one, levels - 1) for one in output]
        return output

    def _deep(self, output: Any) -> Any:
        levels = self._random.choice((1, 3, LEVELS - 4, LEVELS, LEVELS + 1, 60, 100, 300, 900))
        key = self._random.choice(("results", "content", "a", "label", "error", "generated_text"))
        for level in range(levels):
            output = {key: output} if level % 2 else [output]
        return output

    def _cut(self, output: Any) -> Any:
        text = output if isinstance(output, str) else _dumped(output)
        return text[: self._random.randrange(len(text) + 1)]

    def _as_text(self, output: Any) -> Any:
        text = _dumped(output)
        return self._random.choice(
            (
                lambda: text, lambda: printed(output), lambda: json.dumps(text),
                lambda: json.dumps(json.dumps(text)), lambda: f"```json\n{text}\n```",
                lambda: f"2026-11-20 INFO guard: {text}", lambda: f"\ufeff{text}",
                lambda: f"Result(label='x', raw={printed(output)})", lambda: f"{text}\n{text}",
                lambda: text.replace(",", "\n"),
            )
        )()  # fmt: skip

    def _odd_json(self, output: Any) -> Any:
        text = _dumped(output)
        return self._random.choice(
            (
                text.replace('"', "'"), text.replace("}", ",}"), text.replace("{", "{/* x */"),
                text.replace("true", "True").replace("null", "undefined"), text + text, text[::-1],
                text.replace("{", '{"label": "a", "label": "b", "score": 1e400, ', 1),
                text.replace(":", ": NaN, "), text + "]" * 50, "[" * 5_000 + text, "{" * 5_000,
                text.replace(",", ",\u00a0"), text.replace('"', "\u201c"),
            )
        )  # fmt: skip

    def _binary(self, output: Any) -> Any:
        raw = self._random.randbytes(self._random.choice((1, 20, 400)))
        if not self._as_json and self._random.random() < 0.3:
            return raw
        return self._replace(output, lambda _: raw.decode("latin-1"))

    def _wrap(self, output: Any) -> Any:
        text = output if isinstance(output, str) else _dumped(output)
        return self._random.choice(
            (
                {"choices": [{"message": {"role": "assistant", "content": text}}]},
                [{"generated_text": [{"role": "user", "content": text}]}], {"results": output},
                {"body": text, "status": 200}, {"error": output}, {"output": output, "input": text},
                {"role": "assistant", "content": output}, [output], {"flagged": output},
            )
        )  # fmt: skip

    def _huge(self, output: Any) -> Any:
        size = self._random.choice((ITEM_BYTES // 2, ITEM_BYTES - 100, ITEM_BYTES, ITEM_BYTES * 2))
        text = (output if isinstance(output, str) else _dumped(output)) or "x"
        times = size // max(1, len(text)) + 1
        return self._random.choice(
            (
                (text * times)[:size], [output] * min(times, 5_000), {"text": "x" * size},
                {f"{text[:20]}{n}": True for n in range(size // 40)}, " " * size,
                "a: " * (size // 3),
                "\n".join([text[:60]] * (size // 61)), "|" * size, '{"a":' * (size // 5),
            )
        )  # fmt: skip


def printed(output: Any) -> str:
    """As Python prints it, or brackets where it is too deep for that."""
    try:
        return repr(output)
    except RecursionError:
        return "[{'label': " * 900


def _dumped(output: Any) -> str:
    """As JSON, or as Python prints it where JSON cannot have it."""
    try:
        return json.dumps(output)
    except (TypeError, ValueError, RecursionError):
        return printed(output)

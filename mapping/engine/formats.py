"""Text to structure: JSON, JSON lines, JSON inside JSON strings, and what Python prints.

Nothing here evaluates code, and nothing recurses deeper than a fixed limit.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

_fast_loads: Callable[[str], Any]
try:
    import orjson

    _fast_loads = orjson.loads
except ImportError:  # orjson is an optional speed-up
    _fast_loads = json.loads

MAX_CHARS: Final = 1_000_000
MAX_REPR_CHARS: Final = 200_000
MAX_DEPTH: Final = 60
MAX_NESTED_TEXTS: Final = 3
UNPARSED: Final = object()

_FENCE = re.compile(r"\A```[\w-]*\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_CALL = re.compile(r"[A-Za-z_][\w.]{0,80}\(")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f"}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>[rbuRBU]{0,2}(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"))
    | (?P<skip>\.\.\.|…|,)
    | (?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<name>-?[A-Za-z_][\w.]*)
    | (?P<open>[\[({])
    | (?P<close>[\])}])
    | (?P<pair>[:=])
    | (?P<less><)
    | (?P<more>>)
    | (?P<fault>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_END: Final = ("end", "")
_CLOSING: Final = {"[": "]", "(": ")", "{": "}"}
_NAMES: Final[dict[str, Any]] = {
    "True": True,
    "False": False,
    "None": None,
    "true": True,
    "false": False,
    "null": None,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
}


def parse_text(text: str) -> Any:
    """What a text holds: an object or a list, a text (from a JSON string), or UNPARSED.

    Never raises.
    """
    if len(text) > MAX_CHARS:
        return UNPARSED
    try:
        return _parse(text, MAX_NESTED_TEXTS)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return UNPARSED


def _parse(text: str, nested: int) -> Any:
    text = text.strip("\ufeff \t\r\n")
    first = text[:1]
    if first == "`" and (fenced := _FENCE.match(text)):
        text = fenced.group(1).strip()
        first = text[:1]
    if first in ("{", "[", '"') and first:
        value = _parse_json(text)
        if isinstance(value, str):
            inner = _parse(value, nested - 1) if nested else UNPARSED
            return value if inner is UNPARSED else inner
        if value is not UNPARSED:
            return value
    if first in ("{", "[", "(") or _CALL.match(text):
        return _parse_repr(text)
    return UNPARSED


def _parse_json(text: str) -> Any:
    try:
        return _fast_loads(text)
    except ValueError:
        pass
    if "\n" in text:
        try:
            return [_fast_loads(line) for line in text.split("\n") if line.strip()]
        except ValueError:
            pass
    if "NaN" in text or "Infinity" in text:  # not JSON, but what Python and JavaScript tools write
        try:
            return json.loads(text)
        except ValueError:
            pass
    return UNPARSED


def _parse_repr(text: str) -> Any:
    if len(text) > MAX_REPR_CHARS:
        return UNPARSED
    try:
        value = _Repr(text).parse()
    except ValueError:
        return UNPARSED
    return value if isinstance(value, dict | list) else UNPARSED


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if len(code) > 1:
        point = int(code[1:], 16)
        return chr(point) if point <= 0x10FFFF else ""
    return _ESCAPED.get(code, code)


class _Repr:
    """Reads what Python prints: literals, constructor calls, enum members, cut-off `...`.

    A call with keyword arguments becomes a dict, `<Severity.LOW: 'low'>` its value, an unknown name
    its own text. Deliberately lenient about commas, because printed objects are.
    """

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup
            if kind is None or kind == "fault":
                raise ValueError("not what Python prints")
            if kind != "skip":
                self._tokens.append((kind, match[kind]))
        self._tokens.append(_END)
        self._next = 0

    def parse(self) -> Any:
        value = self._value(0)
        if self._tokens[self._next] is not _END:
            raise ValueError("text after the value")
        return value

    def _take(self) -> tuple[str, str]:
        token = self._tokens[self._next]
        if token is _END:
            raise ValueError("cut off")
        self._next += 1
        return token

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next]

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        kind, text = self._take()
        if kind == "string":
            body = text[text.index(text[-1]) + 1 : -1]
            return _ESCAPE.sub(_unescape, body) if "\\" in body else body
        if kind == "number":
            return float(text) if len(text) > 30 or not text.lstrip("+-").isdigit() else int(text)
        if kind == "open":
            return self._literal(text, depth)
        if kind == "less":
            return self._angle(depth)
        if kind == "name":
            if self._peek() == ("open", "("):
                self._take()
                return self._call(depth)
            return _NAMES.get(text, text)
        raise ValueError("unexpected sign")

    def _group(self, closing: str, depth: int) -> tuple[list[Any], dict[Any, Any]]:
        items: list[Any] = []
        pairs: dict[Any, Any] = {}
        while self._peek() != ("close", closing):
            value = self._value(depth + 1)
            if self._peek()[0] == "pair" and closing != "]":
                self._take()
                if isinstance(value, dict | list):
                    raise ValueError("a structure cannot be a key")
                pairs[value] = self._value(depth + 1)
            else:
                items.append(value)
        self._take()
        return items, pairs

    def _literal(self, opening: str, depth: int) -> Any:
        items, pairs = self._group(_CLOSING[opening], depth)
        if items and pairs:
            raise ValueError("neither a list nor an object")
        return pairs or ({} if opening == "{" and not items else items)

    def _call(self, depth: int) -> Any:
        """`Name(a=1)` is an object, `float32(0.9)` and `array([1, 2], dtype=x)` their argument."""
        items, pairs = self._group(")", depth)
        return items[0] if len(items) == 1 else pairs or items

    def _angle(self, depth: int) -> Any:
        """`<Enum.NAME: value>` is its value, `<Name key=value ...>` an object."""
        self._take()
        kind, _ = self._peek()
        pairs: dict[Any, Any] = {}
        if kind == "pair":
            self._take()
            value = self._value(depth + 1)
        else:
            while self._peek()[0] == "name":
                key = self._take()[1]
                if self._take()[0] != "pair":
                    raise ValueError("unexpected sign")
                pairs[key] = self._value(depth + 1)
            value = pairs
        if self._take()[0] != "more":
            raise ValueError("unexpected sign")
        return value

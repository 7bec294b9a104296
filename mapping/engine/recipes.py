"""The recipes of a detector file: how its raw output is read.

Recipes are tried in order; the first whose shape the output has wins. If none has it, the bare
shapes are tried that every detector's labels may come in (see ``bare``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mapping.engine.bare import read_bare
from mapping.engine.formats import UNPARSED, parse_text
from mapping.engine.paths import compile_many
from mapping.engine.readers import Reader, compile_reader
from mapping.engine.sink import Sink
from mapping.engine.values import Condition, compile_conditions
from mapping.engine.vocabulary import Vocabulary

# An output inside an output inside an output: chat wrapper, HTTP body, JSON in a JSON string.
MAX_UNWRAPS = 3
_MAX_MATCHES = 20_000


class Parsed(NamedTuple):
    """An output and what could be made of it."""

    value: Any  # the structure, or UNPARSED
    text: str | None  # the text, if the output came as one


Recipe: TypeAlias = Callable[[Parsed, Sink, int], bool]


def parse(output: Any) -> Parsed:
    """The output as a structure, if it is or holds one. Never raises."""
    if isinstance(output, str):
        value = parse_text(output)
        return Parsed(UNPARSED, value) if isinstance(value, str) else Parsed(value, output)
    return Parsed(output, None)


class DetectorReader:
    """Reads the outputs of one detector."""

    __slots__ = ("_recipes", "_threshold", "_words")

    def __init__(
        self, specs: Sequence[Mapping[str, Any]], words: Vocabulary, threshold: float
    ) -> None:
        """Compiles the recipes. KeyError, ValueError or re.error if one of them is misspelt."""
        self._words = words
        self._threshold = threshold
        self._recipes = [self._compile(spec) for spec in specs]

    def read(self, parsed: Parsed, sink: Sink, depth: int = 0) -> bool:
        """Reports to the sink; False if the output has no shape of this detector."""
        for recipe in self._recipes:
            if recipe(parsed, sink, depth):
                return True
        return read_bare(parsed.value, parsed.text, self._words, self._threshold, sink)

    def _compile(self, spec: Mapping[str, Any]) -> Recipe:
        if "unwrap" in spec:
            return self._compile_unwrap(spec)
        readers = [compile_reader(one, self._words, self._threshold) for one in spec["read"]]
        when = compile_conditions(spec.get("when"))
        if "text" in spec:
            return _text_recipe(spec["name"], re.compile(spec["text"]), readers)
        return _structure_recipe(spec["name"], when, readers)

    def _compile_unwrap(self, spec: Mapping[str, Any]) -> Recipe:
        inner = compile_many(spec["unwrap"])
        when = compile_conditions(spec.get("when"))

        def unwrap(parsed: Parsed, sink: Sink, depth: int) -> bool:
            value = parsed.value
            if depth >= MAX_UNWRAPS or not isinstance(value, dict | list | tuple):
                return False
            if when is not None and not when(value):
                return False
            understood = False
            for part in inner(value) or ():
                if self.read(parse(_last_said(part)), sink, depth + 1):
                    understood = True
                else:
                    sink.unreadable += 1
            return understood

        return unwrap


def _last_said(part: Any) -> Any:
    """What the model said, where a chat pipeline gives the whole conversation back."""
    last = part[-1] if isinstance(part, list) and part else None
    if isinstance(last, dict) and last.get("role") == "assistant" and "content" in last:
        return last["content"]
    return part


def _structure_recipe(name: str, when: Condition | None, readers: list[Reader]) -> Recipe:
    def read(parsed: Parsed, sink: Sink, depth: int) -> bool:
        value = parsed.value
        if value is UNPARSED or (when is not None and not when(value)):
            return False
        applied = False
        unreadable = sink.unreadable
        for reader in readers:
            if reader(value, sink):
                applied = True
        if applied:
            sink.recipe = name
        else:
            sink.unreadable = unreadable  # another recipe may read these records
        return applied

    return read


def _text_recipe(name: str, pattern: re.Pattern[str], readers: list[Reader]) -> Recipe:
    """The named groups of each match are the members of a record."""

    def read(parsed: Parsed, sink: Sink, depth: int) -> bool:
        if parsed.text is None:
            return False
        records = []
        for match in pattern.finditer(parsed.text):
            records.append({k: v for k, v in match.groupdict().items() if v is not None})
            if len(records) >= _MAX_MATCHES:
                break
        if not records:
            return False
        sink.recipe = name
        for record in records:
            for reader in readers:
                reader(record, sink)
        return True

    return read

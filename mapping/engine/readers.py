"""Turns the `read` entries of a recipe into closures that report labels to a Sink.

A reader walks records (`each`) and takes the label from a field (`label`), from the keys of an
object (`keys`) or from the recipe itself (`name`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from mapping.engine.paths import MISSING, One, compile_many, compile_one
from mapping.engine.sink import Sink
from mapping.engine.values import (
    NO_SEVERITY,
    clamp,
    compile_conditions,
    compile_score,
    compile_severity,
    flag,
    number,
)
from mapping.engine.vocabulary import LabelRule, Vocabulary

# Reports what it finds and answers whether the output has the reader's shape at all.
Reader: TypeAlias = Callable[[Any, Sink], bool]
# (value, threshold) -> (is it a finding, score); the first is None if the value is no verdict.
Verdict: TypeAlias = Callable[[Any, float], tuple[bool | None, float | None]]
FindLabels: TypeAlias = Callable[[Any], list[str] | None]

POLARITIES = ("finding", "pass", "valid", "listed")

_MAX_CODE = 10**9
_NEGATIVE: tuple[bool, None] = (False, None)


def compile_verdict(polarity: str) -> Verdict:
    """Reads a boolean or a score as a verdict.

    Polarity `finding`: true and high are bad. `pass`: true and high are good. `valid`: true is
    good, but a high score, being a risk, is bad. `listed`: to be there at all is bad.
    """
    if polarity == "listed":
        return lambda value, threshold: (True, None)
    passing = polarity != "finding"
    rewarding = polarity == "pass"

    def read(value: Any, threshold: float) -> tuple[bool | None, float | None]:
        if value is False or value is True:
            return value is not passing, None
        if value is None:
            return _NEGATIVE
        score = number(value)
        if score is None:
            word = flag(value)
            return (None if word is None else word is not passing), None
        if not -1 <= score <= 1:  # a count, an id, a duration; -1 stands for "not applicable"
            return None, None
        if rewarding:
            return score < threshold, 1.0 - clamp(score)
        return score >= threshold, clamp(score)

    return read


def is_verdict(value: Any) -> bool:
    """Whether a value can be a verdict: a boolean, or a number up to 1 (-1: not applicable)."""
    if isinstance(value, bool):
        return True
    found = number(value)
    return found is not None and -1 <= found <= 1


def _flatten(value: Any, depth: int = 3) -> Iterator[Any]:
    """The value itself, or the elements of a list of lists of values."""
    if isinstance(value, list | tuple) and depth:
        for one in value:
            yield from _flatten(one, depth - 1)
    else:
        yield value


def _compile_labels(spec: Mapping[str, Any]) -> FindLabels:
    """The label texts of a record: [] if it has none to report, None if it is unreadable."""
    get = compile_one(spec["label"])
    second = compile_one(spec["with"]) if "with" in spec else None
    split = re.compile(spec["split"]) if "split" in spec else None
    extract = re.compile(spec["extract"]) if "extract" in spec else None
    plain = second is None and split is None and extract is None

    def find(record: Any) -> list[str] | None:
        value = get(record)
        if plain and type(value) is str:
            return [value] if value else None
        texts: list[str] = []
        for one in _flatten(value):
            if isinstance(one, int) and not isinstance(one, bool) and 0 <= one < _MAX_CODE:
                texts.append(str(one))
            elif isinstance(one, str) and one:
                texts.append(one)
            else:
                return None
        if extract is not None:
            texts = [match.group(1) for text in texts for match in extract.finditer(text)]
        if split is not None:
            texts = [part for text in texts for part in split.split(text) if part]
        if second is not None:
            kind = second(record)
            texts = [f"{text}/{kind}" for text in texts if isinstance(kind, str) and kind] or texts
        return texts

    return find


class _RecordReader:
    """Reads one label (or several) from each record."""

    __slots__ = (
        "_each", "_failed", "_find", "_labels", "_name", "_nonempty", "_score", "_select",
        "_severity", "_threshold", "_value", "_verdict", "_when",
    )  # fmt: skip

    def __init__(self, spec: Mapping[str, Any], words: Vocabulary, threshold: float) -> None:
        self._find = words.find
        self._each = compile_many(spec.get("each", "$"))
        self._select = compile_conditions(spec.get("select"))
        self._when = compile_conditions(spec.get("when"))
        self._failed = compile_conditions(spec.get("failed"))
        self._nonempty = bool(spec.get("nonempty", False))
        self._labels = _compile_labels(spec) if "label" in spec else None
        self._name = words.find(spec["name"]) if "name" in spec else None
        self._value = compile_one(spec["value"]) if "value" in spec else None
        self._verdict = compile_verdict(spec.get("polarity", "finding"))
        self._threshold = float(spec.get("threshold", threshold))
        self._score = compile_score(spec["score"]) if "score" in spec else None
        self._severity = compile_severity(spec["severity"]) if "severity" in spec else None

    def __call__(self, root: Any, sink: Sink) -> bool:
        records = self._each(root)
        if records is None:
            return False
        if not records:
            return not self._nonempty
        applied = False
        select = self._select
        for record in records:
            if (select is None or select(record)) and self._read(record, sink):
                applied = True
        return applied

    def _read(self, record: Any, sink: Sink) -> bool:
        """Whether the record has this reader's shape."""
        if self._failed is not None and self._failed(record):
            sink.failures += 1
            return True
        met = True if self._when is None else self._when(record)
        if not met:
            sink.unreadable += met is None
            return met is not None
        labels: list[str] | None = None
        if self._labels is not None:
            labels = self._labels(record)
            if labels is None:
                sink.unreadable += 1
                return False
        return self._judge(record, labels, sink)

    def _judge(self, record: Any, labels: list[str] | None, sink: Sink) -> bool:
        value = self._value(record) if self._value is not None else True
        if value is MISSING:
            return False
        score = self._score(record) if self._score is not None else None
        severity = self._severity(record) if self._severity is not None else NO_SEVERITY
        if labels is None:
            if self._name is not None:
                self._report(self._name, value, score, severity, sink)
            return True
        for text in labels:
            self._report(self._find(text) or text, value, score, severity, sink)
        return True

    def _report(
        self, key: LabelRule | str, value: Any, score: float | None, severity: int, sink: Sink
    ) -> None:
        if self._value is None:
            sink.add(key, score, severity)
            return
        threshold = threshold_of(key, self._threshold)
        for one in _flatten(value):
            positive, own = self._verdict(one, threshold)
            if positive is None:
                sink.unreadable += 1
            elif positive:
                sink.add(key, own if score is None else score, severity)


def threshold_of(key: LabelRule | str | None, threshold: float) -> float:
    """The label's own threshold, or the given one."""
    if isinstance(key, LabelRule) and key.threshold is not None:
        return key.threshold
    return threshold


class _KeysReader:
    """Reads an object whose keys are labels and whose values are verdicts or scores."""

    __slots__ = (
        "_each", "_extract", "_find", "_get", "_ignore", "_known", "_nonempty", "_quiet",
        "_scores", "_select", "_severity", "_threshold", "_value", "_verdict", "_when",
    )  # fmt: skip

    def __init__(self, spec: Mapping[str, Any], words: Vocabulary, threshold: float) -> None:
        self._find = words.find
        self._each = compile_many(spec.get("each", "$"))
        self._select = compile_conditions(spec.get("select"))
        self._when = compile_conditions(spec.get("when"))
        self._nonempty = bool(spec.get("nonempty", False))
        self._get: One = compile_one(spec["keys"])
        # An object that is the whole output is read only if a known key has a verdict: it may
        # have other members beside the labels.
        self._known = spec["keys"] == "$"
        self._value = compile_one(spec["value"]) if "value" in spec else None
        self._scores = compile_one(spec["score"]) if "score" in spec else None
        self._extract = re.compile(spec["extract"]) if "extract" in spec else None
        self._ignore = frozenset(spec.get("ignore", ()))
        polarity = spec.get("polarity", "finding")
        self._verdict = compile_verdict(polarity)
        # The value that says "not found" at once.
        quiet = {"finding": False, "pass": True, "valid": True}
        self._quiet = MISSING if self._value is not None else quiet.get(polarity, MISSING)
        self._severity = compile_severity(spec["severity"]) if "severity" in spec else None
        self._threshold = float(spec.get("threshold", threshold))

    def __call__(self, root: Any, sink: Sink) -> bool:
        applied = False
        for record in self._each(root) or ():
            if self._select is None or self._select(record):
                box = self._get(record)
                if isinstance(box, dict) and self._applies(box):
                    applied = True
                    met = True if self._when is None else self._when(record)
                    if met:
                        scores = self._scores(record) if self._scores is not None else None
                        self._read(box, scores if isinstance(scores, dict) else None, sink)
                    else:
                        sink.unreadable += met is None
        return applied

    def _applies(self, box: dict[Any, Any]) -> bool:
        if not box:
            return not self._nonempty
        if not self._known:
            return True
        return any(
            isinstance(key, str)
            and is_verdict(value[0] if isinstance(value, list) and value else value)
            and self._rule(key) is not None
            for key, value in box.items()
        )

    def _rule(self, key: str) -> LabelRule | None:
        if self._extract is not None and (match := self._extract.search(key)):
            key = match.group(1)
        return self._find(key)

    def _read(self, box: dict[Any, Any], scores: dict[Any, Any] | None, sink: Sink) -> None:
        for key, value in box.items():
            if value is self._quiet:  # most keys of most outputs: no finding, nothing to note
                continue
            if isinstance(key, str) and key not in self._ignore:
                score = number(scores.get(key)) if scores is not None else None
                self._read_key(key, value, score, sink)

    def _read_key(self, key: str, value: Any, score: float | None, sink: Sink) -> None:
        rule = self._rule(key)
        verdicts = value if self._value is None else self._value(value)
        threshold = threshold_of(rule, self._threshold)
        for one in _flatten(verdicts) if isinstance(verdicts, list | tuple) else (verdicts,):
            positive, own = self._verdict(one, threshold)
            if positive is None:
                # A member that is no label, or a label whose verdict cannot be read.
                sink.unreadable += rule is not None and not (self._known and isinstance(one, str))
            elif positive:
                if own is None and score is not None:
                    own = clamp(score)
                severity = NO_SEVERITY if self._severity is None else self._severity(value)
                sink.add(rule or key, own, severity)


def compile_reader(spec: Mapping[str, Any], words: Vocabulary, threshold: float) -> Reader:
    """A reader from its entry in the detector file. ValueError or re.error if it is misspelt."""
    if "keys" in spec:
        return _KeysReader(spec, words, threshold)
    return _RecordReader(spec, words, threshold)

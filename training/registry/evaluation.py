"""What an evaluation of a version says, read from evaluation.json and checked.

Shares are 0 to 1. `described` and `label_alone` hold figures by name and `intervals`, by the same
names: the two ends of 95 % intervals (mapping.evaluation.metrics).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from training.registry.errors import RegistryError

PROTOCOL: Final = "held-out detectors"
# In the order of tables, with the words for people. Others are shown by their own names.
WORDS: Final[Mapping[str, str]] = {
    "micro_f1": "Micro-F1",
    "macro_f1": "Macro-F1",
    "accepted": "Accepted (top-1)",
    "parent": "Parent",
    "hit_at_5": "Hit at 5",
    "ece": "ECE",
    "abstained": "Abstained",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of questions of one kind. A figure that was not measured is not there."""

    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, content: Any, where: str) -> Self:
        """Raises RegistryError."""
        if not isinstance(content, Mapping):
            raise _wrong(where, "is missing")
        values = {
            str(name): _number(value, f"{where}.{name}")
            for name, value in content.items()
            if name != "intervals" and value is not None
        }
        intervals = {
            str(name): _interval(value, f"{where}.intervals.{name}")
            for name, value in (content.get("intervals") or {}).items()
        }
        return cls(values, intervals)


@dataclass(frozen=True, slots=True)
class DetectorFigures:
    """Of one held-out detector."""

    rows: int
    accepted: float
    parent: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Immutable; `of` reads it."""

    protocol: str
    data_set: str
    split: str
    rows: int
    described: Figures
    label_alone: Figures
    by_detector: Mapping[str, DetectorFigures]
    latency_p95_ms: float | None
    latency_p50_ms: float | None
    schema_valid: float | None
    adapter_sha256: str | None  # of what was evaluated, where the evaluation says so

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """From the parsed file. Raises RegistryError, which names the field."""
        rows = content.get("rows")
        if type(rows) is not int or rows < 1:
            raise _wrong("rows", "is no positive number")
        latency = content.get("latency_ms") or {}
        if not isinstance(latency, Mapping):
            raise _wrong("latency_ms", "is no object")
        detectors = content.get("by_detector") or {}
        if not isinstance(detectors, Mapping):
            raise _wrong("by_detector", "is no object")
        return cls(
            protocol=_text(content, "protocol"),
            data_set=_text(content, "data_set"),
            split=_text(content, "split"),
            rows=rows,
            described=Figures.of(content.get("described"), "described"),
            label_alone=Figures.of(content.get("label_alone"), "label_alone"),
            by_detector={str(name): _detector(one, name) for name, one in detectors.items()},
            latency_p95_ms=_optional(latency, "p95", "latency_ms", most=math.inf),
            latency_p50_ms=_optional(latency, "p50", "latency_ms", most=math.inf),
            schema_valid=_optional(content, "schema_valid", ""),
            adapter_sha256=content.get("adapter_sha256"),
        )


def _detector(content: Any, name: str) -> DetectorFigures:
    where = f"by_detector.{name}"
    if not isinstance(content, Mapping) or type(content.get("rows")) is not int:
        raise _wrong(where, "has no number of rows")
    return DetectorFigures(
        rows=content["rows"],
        accepted=_number(content.get("accepted"), f"{where}.accepted"),
        parent=_optional(content, "parent", where),
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(name, "is missing")
    return value


def _optional(
    content: Mapping[str, Any], name: str, where: str, *, most: float = 1.0
) -> float | None:
    value = content.get(name)
    return None if value is None else _number(value, f"{where}.{name}".strip("."), most=most)


def _interval(value: Any, where: str) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _wrong(where, "is no pair of numbers")
    return _number(value[0], where), _number(value[1], where)


def _number(value: Any, where: str, *, most: float = 1.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(where, "is no number")
    if not 0 <= value <= most:
        raise _wrong(where, f"is {value}, which is not between 0 and {most:g}")
    return float(value)


def _wrong(where: str, what: str) -> RegistryError:
    return RegistryError(f"evaluation.json: {where} {what}. Evaluate the version anew.")

"""Reads verdicts, scores, severities and conditions off single values."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mapping.engine.paths import MISSING, compile_one
from mapping.engine.types import SEVERITY_RANK

# Whether a record meets a condition; None if the record lacks what is needed to tell.
Condition: TypeAlias = Callable[[Any], bool | None]
ReadScore: TypeAlias = Callable[[Any], float | None]
ReadSeverity: TypeAlias = Callable[[Any], int]

NO_SEVERITY: Final = -1
_TRUE: Final = frozenset(("true", "yes", "1"))
_FALSE: Final = frozenset(("false", "no", "0", "none", "null", ""))
_NUMBER_CHARS: Final = 40


def number(value: Any) -> float | None:
    """A finite number, also from a numeric string or with a per-cent sign; None for all else."""
    if type(value) is float:  # what nearly every score is
        return value if math.isfinite(value) else None
    if isinstance(value, bool):
        return None
    percent = False
    if isinstance(value, str):
        if not 0 < len(value) <= _NUMBER_CHARS:
            return None
        percent = value.endswith("%")
        value = value[:-1] if percent else value
    elif not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(found):
        return None
    return found / 100 if percent else found


def clamp(value: float) -> float:
    """The value moved into 0..1."""
    return 0.0 if value < 0 else 1.0 if value > 1 else value


def flag(value: Any) -> bool | None:
    """A yes or no, also as a word; None if the value is neither."""
    if isinstance(value, bool):
        return value
    if value is None:
        return False
    if isinstance(value, str) and len(value) <= _NUMBER_CHARS:
        word = value.strip().casefold()
        return True if word in _TRUE else False if word in _FALSE else None
    return None


def compile_score(spec: str | Sequence[str] | Mapping[str, Any]) -> ReadScore:
    """A score in 0..1 from a record.

    The spec is a path, or {path, over: path of the total, max: top of the scale, invert: bool}.
    """
    if not isinstance(spec, Mapping):
        spec = {"path": spec}
    get = compile_one(spec["path"])
    over = compile_one(spec["over"]) if "over" in spec else None
    top = float(spec.get("max", 1))
    invert = bool(spec.get("invert", False))

    def read(record: Any) -> float | None:
        value = get(record)
        found = number(value)
        if found is None:
            return None
        if over is not None:
            total = number(over(record))
            if not total:
                return None
            found /= total
        found = clamp(found / top)
        return 1.0 - found if invert else found

    return read


def compile_severity(spec: Mapping[str, Any]) -> ReadSeverity:
    """The detector's own severity as a rank, NO_SEVERITY if it states none.

    The spec is {path, words: {WORD: severity}} or {path, steps: [[at least, severity], ...]}.
    """
    get = compile_one(spec["path"])
    if "words" in spec:
        words = {word.casefold(): SEVERITY_RANK[name] for word, name in spec["words"].items()}

        def by_word(record: Any) -> int:
            value = get(record)
            if not isinstance(value, str) or len(value) > _NUMBER_CHARS:
                return NO_SEVERITY
            return words.get(value.strip().casefold(), NO_SEVERITY)

        return by_word

    steps = sorted(((float(low), SEVERITY_RANK[name]) for low, name in spec["steps"]), reverse=True)

    def by_step(record: Any) -> int:
        value = number(get(record))
        if value is not None:
            for low, rank in steps:
                if value >= low:
                    return rank
        return NO_SEVERITY

    return by_step


def _plain(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value


def _same(value: Any, wanted: Sequence[Any]) -> bool:
    value = _plain(value)
    for one in wanted:
        if isinstance(one, bool):
            if value is one or (isinstance(value, str) and flag(value) is one and value != ""):
                return True
        elif not isinstance(value, bool) and value == one:
            return True
    return False


def _membership(spec: Mapping[str, Any], get: Callable[[Any], Any]) -> Condition:
    positive = "is" in spec
    raw = spec["is"] if positive else spec["is_not"]
    wanted = [_plain(one) for one in (raw if isinstance(raw, list) else [raw])]
    return lambda record: _same(get(record), wanted) is positive


def _comparison(spec: Mapping[str, Any], get: Callable[[Any], Any]) -> Condition:
    limit = spec.get("at_least", spec.get("below"))
    at_least = "at_least" in spec
    other = compile_one(limit) if isinstance(limit, str | list) else None

    def compare(record: Any) -> bool | None:
        value = number(get(record))
        bound = number(other(record)) if other is not None else number(limit)
        if value is None or bound is None:
            return None
        return (value >= bound) is at_least

    return compare


def _condition(spec: Mapping[str, Any]) -> Condition:
    get = compile_one(spec["path"])
    if "is" in spec or "is_not" in spec:
        return _membership(spec, get)
    if "matches" in spec:
        pattern = re.compile(spec["matches"])

        def matches(record: Any) -> bool:
            value = get(record)
            return isinstance(value, str) and pattern.search(value) is not None

        return matches
    if "present" in spec:
        wanted = bool(spec["present"])
        return lambda record: (get(record) is not MISSING) is wanted
    return _comparison(spec, get)


def compile_conditions(specs: Sequence[Mapping[str, Any]] | None) -> Condition | None:
    """All of the conditions together; None if there are none."""
    if not specs:
        return None
    conditions = [_condition(spec) for spec in specs]
    if len(conditions) == 1:
        return conditions[0]

    def every(record: Any) -> bool | None:
        for condition in conditions:
            met = condition(record)
            if not met:
                return met
        return True

    return every

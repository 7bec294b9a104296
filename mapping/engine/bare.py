"""Shapes that labels come in when a tool, or the glue around it, drops the rest of the output.

A bare label, labels joined by a sign, a list of labels, an object from label to verdict or score.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from mapping.engine.formats import UNPARSED
from mapping.engine.labels import recordable_label
from mapping.engine.readers import compile_verdict, is_verdict, threshold_of
from mapping.engine.sink import Sink
from mapping.engine.values import number
from mapping.engine.vocabulary import LabelRule, Vocabulary

_JOINED: Final = re.compile(r"\s*[|,;\n]\s*")
SCORED: Final = re.compile(r"(\S.{0,99}?)\s?[:=]\s?(\d\.\d{1,20}|[01])")
_MAX_BARE_CHARS: Final = 10_000
# A whole text that says that nothing was found. Never looked for inside a longer text.
_NOTHING_FOUND: Final = frozenset(
    (
        "safe", "benign", "clean", "pass", "passed", "ok",
        "no findings", "no issues", "nothing found", "none found",
    )
)  # fmt: skip
# A whole text that is no label, and words that mark a failure.
_NO_LABEL: Final = frozenset(("none", "null", "nil", "nan", "undefined", "n/a", "true", "false"))
_FAILURE: Final = re.compile(
    r"(?i)\b(?:errors?|exception|time-?out|timed out|unavailable|traceback|forbidden"
    r"|unauthori[sz]ed|rate limit|too many requests|bad gateway|bad credentials|http [45]\d\d)\b"
    r"|(?-i:[a-z]Error)\b"
    r"|\A(?:\w+\.)*\w+(?:error|exception):"
)
# Members that name the label of a record, in the order in which they are tried.
LABEL_MEMBERS: Final = (
    "entity_type", "entity_group", "label", "category", "type", "name", "entity", "rule_id", "code",
)  # fmt: skip

_verdict = compile_verdict("finding")
FindRule = Callable[[str], LabelRule | None]


def is_failure(value: Any) -> bool:
    """Whether an object states an error: `{"error": {...}}`, `{"message": ..., "__type": ...}`."""
    if not isinstance(value, dict):
        return False
    if any(value.get(member) for member in ("error", "errors", "Error", "exception", "__type")):
        return True
    return value.get("object") == "error" or ("message" in value and "code" in value)


def pieces_of(text: str) -> list[str]:
    return [piece for piece in _JOINED.split(text.strip()) if piece]


def looks_like_label(text: str) -> bool:
    return (
        text.casefold() not in _NO_LABEL
        and recordable_label(text)
        and text.count("(") == text.count(")")
        and text.count("[") == text.count("]")
        and _FAILURE.search(text) is None
    )


def _read_text(text: str, find: FindRule, threshold: float, sink: Sink) -> bool:
    if len(text) > _MAX_BARE_CHARS:
        return False
    whole = text.strip().strip("\"'")
    if not whole:
        return False
    rule = find(whole)
    if rule is not None:
        sink.add(rule)
        return True
    if whole.casefold().rstrip(".") in _NOTHING_FOUND:
        return True
    return _read_pieces(whole, find, threshold, sink)


def _read_pieces(whole: str, find: FindRule, threshold: float, sink: Sink) -> bool:
    """Several labels in one text, with scores or without."""
    if whole[0] in "([{<":  # a structure that was cut off: its pieces are content, not labels
        return False
    pieces = pieces_of(whole)
    if not pieces:
        return False
    scored = [_scored_label(piece, find) for piece in pieces]
    if all(scored):
        for one in scored:
            if one is not None and one[1] >= threshold_of(one[0], threshold):
                sink.add(one[0], one[1])
        return True
    found = [find(piece) or piece for piece in pieces]
    if any(isinstance(one, str) and not looks_like_label(one) for one in found):
        return False
    for key in found:
        sink.add(key)
    # `safe`, and then a category, of a tool that gives a verdict before its categories.
    verdict = find("unsafe")
    if verdict is not None and verdict.generic and pieces[0].casefold() in _NOTHING_FOUND:
        sink.contradicts = any(
            isinstance(one, LabelRule) and one.kind == "finding" for one in found
        )
    return True


def _scored_label(piece: str, find: FindRule) -> tuple[LabelRule, float] | None:
    """A known label and its score, written `label: 0.9` or `label=0.9`."""
    match = SCORED.fullmatch(piece)
    rule = find(match[1]) if match is not None else None
    if match is None or rule is None or not is_verdict(match[2]):
        return None
    return rule, float(match[2])


def _read_strings(items: list[Any], find: FindRule, sink: Sink) -> bool:
    texts = [item for item in items if isinstance(item, str) and item]
    if not texts or len(texts) != len(items):
        return False
    rules = [find(text) for text in texts]
    if not any(rules) and not all(looks_like_label(text) for text in texts):
        return False
    for text, rule in zip(texts, rules, strict=True):
        sink.add(rule or text)
    return True


def _read_object(box: dict[Any, Any], find: FindRule, threshold: float, sink: Sink) -> bool:
    named = [(key, value) for key, value in box.items() if isinstance(key, str)]
    known = any(find(key) is not None and is_verdict(value) for key, value in named)
    # Without a known key, whole numbers may be anything: an id, a count.
    if not known and not (named and all(isinstance(v, bool | float) for _, v in named)):
        return False
    for key, value in named:
        rule = find(key)
        if not is_verdict(value):
            sink.unreadable += rule is not None and value is not None
            continue
        positive, score = _verdict(value, threshold_of(rule, threshold))
        if positive:
            sink.add(rule or key, score)
    return True


def _read_records(items: list[Any], find: FindRule, threshold: float, sink: Sink) -> bool:
    """Records that name a label of the vocabulary in one of the usual members."""
    found = False
    for item in items:
        if not isinstance(item, dict):
            continue
        for member in LABEL_MEMBERS:
            text = item.get(member)
            rule = find(text) if isinstance(text, str) else None
            if rule is not None:
                score = number(item.get("score"))
                if score is None or score >= threshold:
                    sink.add(rule, score if score is None else min(score, 1.0))
                found = True
                break
    return found


def read_bare(
    value: Any, text: str | None, words: Vocabulary, threshold: float, sink: Sink
) -> bool:
    """Reads a bare shape of a known detector; False if the output has none of them."""
    if value is UNPARSED:
        read = text is not None and _read_text(text, words.find, threshold, sink)
    elif isinstance(value, list | tuple):
        items = list(value)
        read = _read_strings(items, words.find, sink) or _read_records(
            items, words.find, threshold, sink
        )
    elif isinstance(value, dict) and not is_failure(value):
        read = _read_object(value, words.find, threshold, sink)
    else:
        read = False
    if read:
        sink.recipe = "bare labels"
    return read

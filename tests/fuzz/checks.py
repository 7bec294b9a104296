"""What holds for every answer, whatever the output was."""

import json
import re
from typing import Any

import jsonschema_rs
from django.conf import settings

from tests.privacy.canaries import CANARIES

SCHEMA = jsonschema_rs.validator_for(
    json.loads((settings.KNOWLEDGE_DIR / "schema.json").read_text(encoding="utf-8")),
    validate_formats=True,
)
# Words by which raw text would be known again. Short ones would be found by chance.
TRACES = tuple(
    part.casefold()
    for text, parts in CANARIES.values()
    for part in {text, *parts}
    if len(part) >= 8
)
_FAULT = re.compile(r"Error\b|Exception|Traceback|line \d+|0x[0-9a-f]{6}")
_PROBLEM = {"type", "title", "status"}


def check_answer(body: Any) -> None:
    """An answer of /map as it is sent: valid, and without any part of the output but labels."""
    errors = [str(error.message) for error in SCHEMA.iter_errors(body)]
    assert not errors, errors[:3]
    assert _FAULT.search(body["notes"] or "") is None, body["notes"]
    check_traces({**body, "findings": [_without_plain_words(one) for one in body["findings"]]})
    if body["decision"] == "safe":
        assert body["taxonomy"] == ["OTHER.Safe"]
        assert body["findings"] == []


def _without_plain_words(finding: dict[str, Any]) -> dict[str, Any]:
    """Without a label of up to three words of letters: what a cut leaves of a sentence may be that.

    By its shape nobody can tell it from a label (see mapping.engine.labels).
    """
    words = (finding["source_label"] or "").split()
    if len(words) <= 3 and all(word.isalpha() for word in words):
        return {**finding, "source_label": None}
    return finding


def check_problem(body: Any, status: int) -> None:
    """Problem details (RFC 9457) that name no fault of ours and quote nothing."""
    assert body.keys() >= _PROBLEM, body.keys()
    assert body["status"] == status
    assert 400 <= status < 500
    assert _FAULT.search(json.dumps(body)) is None, body
    check_traces(body)


def check_traces(body: Any) -> None:
    """No canary, in any spelling that JSON has for it."""
    shown = json.dumps(body, ensure_ascii=False).casefold()
    found = [trace for trace in TRACES if trace in shown]
    assert not found, found

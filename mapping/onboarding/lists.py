"""Reads a vendor's list of labels: CSV, JSON, YAML or one a line."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mapping.engine import recordable_label

MAX_LABELS: Final = 5_000
MAX_LIST_CHARS: Final = 500_000
_MAX_LABEL_CHARS: Final = 200  # what a detector file takes
_NAMES: Final = ("label", "name", "id", "code", "category", "entity", "type")
_DESCRIPTIONS: Final = ("description", "meaning", "definition", "help")
# Members that outputs have and lists of labels do not: what stands there may be anybody's text.
_OF_OUTPUTS: Final = frozenset(
    (
        "completion", "confidence", "content", "detected", "end", "entity_group", "entity_type",
        "flagged", "input", "match", "matched_text", "messages", "offset", "output",
        "probability", "prompt", "response", "score", "scores", "snippet", "start", "text",
    )
)  # fmt: skip
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?%?|true|false", re.IGNORECASE)
_FORMULA: Final = ("=", "+", "-", "@")  # how a spreadsheet's formula begins


class OnboardingError(ValueError):
    """What was given cannot become a detector file. The message says what to do."""


class RawOutputError(OnboardingError):
    """What was given as a list of labels is an output, which may hold anybody's text."""

    def __init__(self) -> None:
        super().__init__(
            "This looks like a detector's raw output, not like a list of its labels: it was thrown "
            "away. Give names, with descriptions if you have them; or give it as a sample."
        )


@dataclass(frozen=True, slots=True)
class VendorLabel:
    """A label as its vendor writes it."""

    label: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Sifted:
    """Distinct labels that may be recorded, and what was left out."""

    labels: list[VendorLabel]
    repeated: int
    refused: list[int]  # places in the list, from 1


def may_be_a_label(text: str) -> bool:
    """Whether a text of unknown origin is recorded as a label: plainly a name, and no formula."""
    return recordable_label(text) and not text.startswith(_FORMULA)


def sift(entries: Iterable[VendorLabel]) -> Sifted:
    """Keep each label once, and none that could be somebody's text."""
    found = Sifted([], 0, [])
    seen: set[str] = set()
    for place, entry in enumerate(entries, 1):
        if not may_be_a_label(entry.label):
            found.refused.append(place)
        elif entry.label in seen:
            found = Sifted(found.labels, found.repeated + 1, found.refused)
        else:
            seen.add(entry.label)
            found.labels.append(entry)
    return found


def read_label_list(text: str) -> list[VendorLabel]:
    """The distinct labels of a list. Raises OnboardingError as `read_entries` does."""
    labels: dict[str, VendorLabel] = {}
    for entry in read_entries(text):
        labels.setdefault(entry.label, entry)
    return list(labels.values())


def read_entries(text: str) -> list[VendorLabel]:
    """Labels from JSON, YAML, CSV with a header, or one a line. Raises OnboardingError.

    JSON and YAML: a list of names, a list of objects with a name and perhaps a description, or an
    object from name to description.
    """
    if len(text) > MAX_LIST_CHARS:
        raise OnboardingError(f"The list is over {MAX_LIST_CHARS:,} characters long. Split it.")
    found = _structured(text)
    if found is None:
        found = _table(text) or [VendorLabel(line) for line in text.splitlines()]
    entries = [
        VendorLabel(entry.label.strip(), _plain_text(entry.description))
        for entry in found
        if entry.label.strip()
    ]
    if not entries:
        raise OnboardingError("No labels were found. Give names as CSV, JSON, YAML or one a line.")
    if len({entry.label for entry in entries}) > MAX_LABELS:
        raise OnboardingError(f"{len(entries)} labels are more than {MAX_LABELS}. Split the list.")
    too_long = next((e.label for e in entries if len(e.label) > _MAX_LABEL_CHARS), None)
    if too_long is not None:
        raise OnboardingError(
            f"An entry is over {_MAX_LABEL_CHARS} characters long: this is no list of labels."
        )
    return entries


def _plain_text(text: str) -> str:
    """In one line, without what a database cannot store (NUL, halves of characters)."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _structured(text: str) -> list[VendorLabel] | None:
    """From JSON or YAML; None if it is neither, or no list or object."""
    try:
        value = json.loads(text) if text.lstrip()[:1] in ("{", "[") else _yaml(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return None
    if isinstance(value, Mapping):
        _refuse_output(value)
        inner = [item for item in value.values() if isinstance(item, list)]
        if len(inner) == 1:
            value = inner[0]
        else:
            return [VendorLabel(str(k), v if isinstance(v, str) else "") for k, v in value.items()]
    if not isinstance(value, list):
        return None
    return [label for item in value if (label := _item(item)) is not None]


def _yaml(text: str) -> Any:
    """YAML with every scalar as text: a label `no` or `1.10` is neither a boolean nor a number."""
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it builds text, lists and objects alone


def _refuse_output(value: Mapping[Any, Any]) -> None:
    """Raises RawOutputError for an object that is an output: verdicts, or a label and a text."""
    names = {str(key).casefold() for key in value}
    scalars = [v for v in value.values() if isinstance(v, str | int | float)]
    if len(scalars) == len(value) and all(_NUMBER.fullmatch(str(v)) for v in scalars) and value:
        raise RawOutputError
    if names & _OF_OUTPUTS and (names & {*_NAMES, "entity_type"} or len(scalars) < len(value)):
        raise RawOutputError


def _item(item: Any) -> VendorLabel | None:
    if isinstance(item, str | int):
        return VendorLabel(str(item))
    if not isinstance(item, Mapping):
        return None
    folded = {str(key).casefold(): value for key, value in item.items()}
    if folded.keys() & _OF_OUTPUTS:
        raise RawOutputError
    name = next((v for key in _NAMES if isinstance(v := folded.get(key), str | int) and v), None)
    description = next((v for k in _DESCRIPTIONS if isinstance(v := folded.get(k), str) and v), "")
    return None if name is None else VendorLabel(str(name), description)


def _table(text: str) -> list[VendorLabel]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    try:
        names = {name.strip().casefold() for name in reader.fieldnames or ()}
        if not names & set(_NAMES):
            return []
        if names & _OF_OUTPUTS:
            raise RawOutputError
        rows = [{(key or "").strip(): value for key, value in row.items()} for row in reader]
    except csv.Error:  # such as a field of over 131,072 characters
        raise OnboardingError("The table cannot be read as CSV. Check its quotes.") from None
    return [label for row in rows if (label := _item(row)) is not None]

"""Differences between releases, put so that people can read them.

`present` is for pages: give its groups to the template `taxonomy/difference.html` as `groups`.
`as_json` is the whole of it for a download.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from taxonomy.objects import Difference, ObjectKind

MOST_CHANGES = 50  # of one kind on a page
MOST_FIELDS = 12  # of one change on a page
MOST_CHARACTERS = 400  # of one value on a page

_TITLES = {
    ObjectKind.LABEL: "Labels of the taxonomy",
    ObjectKind.DETECTOR: "Detectors",
    ObjectKind.DETECTOR_LABEL: "Labels of detectors",
    ObjectKind.CROSSWALK_ROW: "Rows of crosswalks",
    ObjectKind.FRAMEWORK: "Frameworks",
}
_NOUNS = {
    ObjectKind.LABEL: "Label",
    ObjectKind.DETECTOR: "Detector",
    ObjectKind.DETECTOR_LABEL: "Detector label",
    ObjectKind.CROSSWALK_ROW: "Crosswalk row",
    ObjectKind.FRAMEWORK: "Framework",
}
_FIELDS = {
    "aliases": "Other names",
    "canonical": "Canonical labels",
    "detector_versions": "Versions of the detector",
    "short_name": "Short name",
    "official_count": "Number of controls",
}
_NAMING = ("code", "name")  # what tells the entries of a list apart, if they have it


class Happened(StrEnum):
    """What became of a thing."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a thing, before and after, as text. None: it has no such field."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs. `fields_left_off`: how many fields more than those here differ."""

    difference: Difference
    happened: Happened
    fields: tuple[FieldChange, ...]
    fields_left_off: int

    @property
    def name(self) -> str:
        """`presidio: US_SSN`, `PII.Contact.Email` or `soc2@2017: PII → CC6.7`."""
        return str(self.difference.key)

    @property
    def sentence(self) -> str:
        """All of it in one line: `Label PII.Contact.Email changed: severity, meaning.`"""
        start = f"{_NOUNS[self.difference.key.kind]} {self.name} {self.happened}"
        if self.happened != Happened.CHANGED:
            return f"{start}."
        named = [field.name[:1].lower() + field.name[1:] for field in self.fields]
        more = [f"{self.fields_left_off} more"] if self.fields_left_off else []
        return f"{start}: {', '.join(named + more)}."


@dataclass(frozen=True, slots=True)
class Group:
    """The differences of one kind. The counts are of all; `left_off`: how many are not here."""

    kind: ObjectKind
    title: str
    added: int
    removed: int
    changed: int
    changes: tuple[Change, ...]
    left_off: int

    @property
    def counts(self) -> str:
        """`2 added, 1 changed`; what there is none of is not named."""
        numbers = ((self.added, "added"), (self.removed, "removed"), (self.changed, "changed"))
        return ", ".join(f"{count:,} {word}" for count, word in numbers if count)


def present(differences: Iterable[Difference], *, most: int | None = MOST_CHANGES) -> list[Group]:
    """Differences by kind, in their order; at most `most` of each kind in full (None: all)."""
    kinds = list(ObjectKind)
    ordered = sorted(differences, key=lambda one: kinds.index(one.key.kind))
    return [_group(kind, list(found), most) for kind, found in groupby(ordered, _kind)]


def as_json(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """Every difference whole, as JSON values."""
    return [
        {
            "kind": one.key.kind.value,
            "document": one.key.document,
            "name": one.key.name,
            "change": happened(one).value,
            "before": one.before,
            "after": one.after,
        }
        for one in differences
    ]


def happened(difference: Difference) -> Happened:
    """Added, removed or changed."""
    if difference.before is None:
        return Happened.ADDED
    return Happened.REMOVED if difference.after is None else Happened.CHANGED


def _kind(difference: Difference) -> ObjectKind:
    return difference.key.kind


def _group(kind: ObjectKind, found: list[Difference], most: int | None) -> Group:
    words = [happened(one) for one in found]
    shown = found if most is None else found[:most]
    return Group(
        kind=kind,
        title=_TITLES[kind],
        added=words.count(Happened.ADDED),
        removed=words.count(Happened.REMOVED),
        changed=words.count(Happened.CHANGED),
        changes=tuple(_change(one) for one in shown),
        left_off=len(found) - len(shown),
    )


def _change(difference: Difference) -> Change:
    before = dict(_leaves(difference.before or {}))
    after = dict(_leaves(difference.after or {}))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    fields = [
        FieldChange(name, _cut(before.get(name)), _cut(after.get(name)))
        for name in names[:MOST_FIELDS]
    ]
    return Change(difference, happened(difference), tuple(fields), len(names) - len(fields))


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Every field below, by its readable path, with its value as text."""
    for key, inner in value.items():
        name = f"{above}: {key}" if above else _FIELDS.get(key, key.replace("_", " ").capitalize())
        if isinstance(inner, dict):
            yield from _leaves(inner, name)
        elif named := _by_name(inner):
            yield from _leaves(named, name)
        else:
            yield name, _text(inner)


def _by_name(value: Any) -> dict[str, dict[str, Any]] | None:
    """A list of objects by what names them; None for other values, and where names repeat."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return None
    for naming in _NAMING:
        named = {str(entry[naming]): _rest(entry, naming) for entry in value if naming in entry}
        if value and len(named) == len(value) and all(named.values()):
            return named
    return None


def _rest(entry: dict[str, Any], naming: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != naming}


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(entry, str | int | float) for entry in value):
            return ", ".join(map(str, value)) or "none"
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[: MOST_CHARACTERS - 1]}…"

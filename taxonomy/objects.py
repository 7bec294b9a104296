"""The things inside the knowledge files that change one by one, and how to change them.

Plain functions over `KnowledgeDocuments`: compare two releases, or apply edits to one.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from taxonomy.selectors import KnowledgeDocuments

ARROW = " → "


class ObjectKind(StrEnum):
    """What kind of thing changes. A FRAMEWORK is only compared: its controls are facts."""

    LABEL = "label"
    DETECTOR = "detector"  # a detector's file, apart from its labels
    DETECTOR_LABEL = "detector_label"
    CROSSWALK_ROW = "crosswalk_row"
    FRAMEWORK = "framework"


class ObjectKey(NamedTuple):
    """Which thing: its kind, the file that it stands in, and its name there.

    `document` is empty for labels of the taxonomy, else a detector or `framework@edition`.
    `name` is a label, or `label → control` for a row of a crosswalk; empty for a whole file.
    """

    kind: ObjectKind
    document: str
    name: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.document, self.name) if part)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same before and after. None: it is not there."""

    key: ObjectKey
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class StaleEditError(Exception):
    """The things to be changed are no longer as the edits found them."""

    def __init__(self, keys: Iterable[ObjectKey]) -> None:
        self.keys = tuple(keys)
        named = ", ".join(map(str, self.keys))
        super().__init__(f"Changed meanwhile: {named}.")


def row_name(label: str, control: str) -> str:
    """The name of a crosswalk row within its crosswalk."""
    return f"{label}{ARROW}{control}"


def objects(documents: KnowledgeDocuments) -> dict[ObjectKey, dict[str, Any]]:
    """Everything in a release that can differ, by key."""
    found: dict[ObjectKey, dict[str, Any]] = {}
    for name, label in documents.taxonomy["labels"].items():
        found[ObjectKey(ObjectKind.LABEL, "", name)] = label
    for detector in documents.detectors:
        found.update(_of_detector(detector))
    for crosswalk in documents.crosswalks:
        found.update(_of_crosswalk(crosswalk))
    for framework in documents.frameworks:
        key = ObjectKey(ObjectKind.FRAMEWORK, edition_name(framework), "")
        found[key] = _without(framework, "version")
    return found


def edition_name(data: dict[str, Any]) -> str:
    """`framework@edition` of a framework's or a crosswalk's file."""
    return f"{data['framework']}@{data['edition']}"


def _of_detector(data: dict[str, Any]) -> Iterator[tuple[ObjectKey, dict[str, Any]]]:
    detector = data["detector"]
    yield ObjectKey(ObjectKind.DETECTOR, detector, ""), _without(data, "labels", "version")
    for label, meaning in data["labels"].items():
        yield ObjectKey(ObjectKind.DETECTOR_LABEL, detector, label), meaning


def _of_crosswalk(data: dict[str, Any]) -> Iterator[tuple[ObjectKey, dict[str, Any]]]:
    subject = edition_name(data)
    for row in data["rows"]:
        name = row_name(row["label"], row["control"])
        yield ObjectKey(ObjectKind.CROSSWALK_ROW, subject, name), _without(row, "label", "control")


def _without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}


def compare(old: KnowledgeDocuments, new: KnowledgeDocuments) -> list[Difference]:
    """What differs between two releases, in the order of kinds, files and names."""
    before, after = objects(old), objects(new)
    kinds = list(ObjectKind)
    keys = sorted(
        before.keys() | after.keys(), key=lambda k: (kinds.index(k.kind), k.document, k.name)
    )
    return [
        Difference(key, before.get(key), after.get(key))
        for key in keys
        if before.get(key) != after.get(key)
    ]


@dataclass(slots=True)
class Edited:
    """Documents after some edits, and which files were touched."""

    documents: KnowledgeDocuments
    taxonomy: bool = False
    detectors: set[str] = field(default_factory=set)
    crosswalks: set[str] = field(default_factory=set)


def apply(documents: KnowledgeDocuments, edits: Iterable[Difference]) -> Edited:
    """The documents with the edits made; versions are left as they are.

    Raises StaleEditError if anything is not as an edit's `before` says, and if a detector would
    take along labels that no edit speaks of.
    """
    edits = list(edits)
    now = objects(documents)
    stale = [edit.key for edit in edits if now.get(edit.key) != edit.before]
    stale += _taken_along(edits, now)
    if stale:
        raise StaleEditError(stale)
    edited = Edited(copy.deepcopy(documents))
    # Whole detectors first: an edit may add a detector, and others its labels.
    for edit in sorted(edits, key=lambda edit: edit.key.kind != ObjectKind.DETECTOR):
        _APPLY[edit.key.kind](edited, edit)
    empty = {data["detector"] for data in edited.documents.detectors if not data["labels"]}
    kept = [data for data in edited.documents.detectors if data["detector"] not in empty]
    edited.documents = edited.documents._replace(detectors=kept)
    edited.detectors -= empty
    return edited


def _taken_along(edits: list[Difference], now: Iterable[ObjectKey]) -> list[ObjectKey]:
    """Labels that would go with their detector although no edit takes them out."""
    going = {edit.key for edit in edits if edit.after is None}
    detectors = {key.document for key in going if key.kind == ObjectKind.DETECTOR}
    return [
        key
        for key in now
        if key.kind == ObjectKind.DETECTOR_LABEL and key.document in detectors and key not in going
    ]


def _apply_label(edited: Edited, edit: Difference) -> None:
    edited.taxonomy = True
    _put(edited.documents.taxonomy["labels"], edit)


def _apply_detector(edited: Edited, edit: Difference) -> None:
    name = edit.key.document
    present = {data["detector"]: data for data in edited.documents.detectors}
    if edit.after is None:  # its labels go by edits of their own
        edited.documents.detectors.remove(present[name])
        return
    edited.detectors.add(name)
    if name in present:
        data = present[name]
        kept = {"version": data["version"], "labels": data["labels"]}
        data.clear()
        data.update({**edit.after, **kept})
    else:
        edited.documents.detectors.append({**edit.after, "version": "", "labels": {}})


def _apply_detector_label(edited: Edited, edit: Difference) -> None:
    name = edit.key.document
    data = next((d for d in edited.documents.detectors if d["detector"] == name), None)
    if data is None:  # the detector was removed by another edit of the same set
        if edit.after is not None:
            raise StaleEditError([edit.key])
        return
    edited.detectors.add(name)
    _put(data["labels"], edit)


def _apply_crosswalk_row(edited: Edited, edit: Difference) -> None:
    subject = edit.key.document
    data = next((c for c in edited.documents.crosswalks if edition_name(c) == subject), None)
    if data is None:
        raise StaleEditError([edit.key])
    edited.crosswalks.add(subject)
    label, _, control = edit.key.name.partition(ARROW)
    rows = data["rows"]
    index = next(
        (i for i, row in enumerate(rows) if (row["label"], row["control"]) == (label, control)),
        None,
    )
    row = None if edit.after is None else {"label": label, "control": control, **edit.after}
    if index is None:
        rows += [row] if row else []
    else:
        rows[index : index + 1] = [row] if row else []


def _refuse_framework(_: Edited, edit: Difference) -> None:
    raise StaleEditError([edit.key])  # controls come from their publisher, by load_config alone


_APPLY = {
    ObjectKind.LABEL: _apply_label,
    ObjectKind.DETECTOR: _apply_detector,
    ObjectKind.DETECTOR_LABEL: _apply_detector_label,
    ObjectKind.CROSSWALK_ROW: _apply_crosswalk_row,
    ObjectKind.FRAMEWORK: _refuse_framework,
}


def _put(entries: dict[str, Any], edit: Difference) -> None:
    if edit.after is None:
        del entries[edit.key.name]
    else:
        entries[edit.key.name] = edit.after

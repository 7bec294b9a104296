"""Frameworks and crosswalks: which controls a canonical label is evidence for.

Relationships are those of NIST IR 8477: equal, subset, superset, intersects, not_related. A row on
a branch holds for every label below it; for one control, the row nearest to the label holds.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mapping.engine.documents import fail, list_of, mapping_of, text_of

RELATIONSHIPS = frozenset(("equal", "subset", "superset", "intersects", "not_related"))
EVIDENCE = frozenset(("direct", "supporting"))
NOT_RELATED = "not_related"


class Controls(NamedTuple):
    """What the crosswalks say, ready for look-up."""

    by_label: dict[str, tuple[str, ...]]  # canonical label -> sorted `framework@edition:code`
    frameworks: tuple[str, ...]  # `framework@edition`, sorted
    crosswalks: dict[str, str]  # `framework@edition` -> version of its crosswalk


def build_controls(
    frameworks: Iterable[Any],
    crosswalks: Iterable[Any],
    labels: Iterable[str],
    min_strength: int = 0,
) -> Controls:
    """Checks frameworks and crosswalks and lays out label -> controls. KnowledgeError if bad.

    Rows weaker than `min_strength` (0..10) are checked and left out.
    """
    codes: dict[str, frozenset[str]] = {}
    for document in frameworks:
        key, found = _framework(document)
        if key in codes:
            fail(f"frameworks/{key}", "framework", "given twice", "Keep one file per edition")
        codes[key] = found
    names = tuple(labels)
    collected: dict[str, set[str]] = {}
    versions: dict[str, str] = {}
    for document in crosswalks:
        key, version = _crosswalk(document, codes, names, collected, min_strength)
        if key in versions:
            fail(f"crosswalks/{key}", "framework", "given twice", "Keep one file per edition")
        versions[key] = version
    by_label = {label: tuple(sorted(found)) for label, found in collected.items()}
    return Controls(by_label, tuple(sorted(codes)), versions)


def _framework(document: Any) -> tuple[str, frozenset[str]]:
    body = mapping_of(document, "frameworks/?", "the file")
    name = text_of(body, "framework", "frameworks/?")
    file = f"frameworks/{name}.yaml"
    codes: set[str] = set()
    for number, entry in enumerate(list_of(body.get("controls"), file, "controls")):
        code = text_of(mapping_of(entry, file, f"controls[{number}]"), "code", file)
        if code in codes:
            fail(file, f"controls[{number}].code", f"{code!r} stands twice", "Keep one of them")
        codes.add(code)
    return f"{name}@{text_of(body, 'edition', file)}", frozenset(codes)


def _crosswalk(
    document: Any,
    codes: Mapping[str, frozenset[str]],
    labels: tuple[str, ...],
    collected: dict[str, set[str]],
    min_strength: int,
) -> tuple[str, str]:
    body = mapping_of(document, "crosswalks/?", "the file")
    name = text_of(body, "framework", "crosswalks/?")
    file = f"crosswalks/{name}.yaml"
    key = f"{name}@{text_of(body, 'edition', file)}"
    if key not in codes:
        fail(file, "edition", f"there is no framework {key}",
             f"Known ones: {', '.join(sorted(codes)) or 'none'}")  # fmt: skip
    rows: dict[tuple[str, str], Mapping[str, Any]] = {}
    for number, entry in enumerate(list_of(body.get("rows"), file, "rows")):
        field = f"rows[{number}]"
        row = mapping_of(entry, file, field)
        label, code = _row(row, codes[key], labels, file, field)
        if (label, code) in rows:
            fail(file, field, f"{label} and {code} stand there twice", "Remove one of the rows")
        rows[label, code] = row
    nearest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for (label, code), row in sorted(rows.items(), key=lambda item: len(item[0][0])):
        for leaf in labels:
            if _covers(label, leaf):
                nearest[leaf, code] = row
    for (leaf, code), row in nearest.items():
        if row["relationship"] != NOT_RELATED and row["strength"] >= min_strength:
            collected.setdefault(leaf, set()).add(f"{key}:{code}")
    return key, text_of(body, "version", file)


def _covers(branch: str, label: str) -> bool:
    return label == branch or label.startswith(f"{branch}.")


def _row(
    row: Mapping[str, Any], codes: frozenset[str], labels: tuple[str, ...], file: str, field: str
) -> tuple[str, str]:
    label = row.get("label")
    if not isinstance(label, str) or not any(_covers(label, leaf) for leaf in labels):
        fail(file, f"{field}.label", f"{label!r} is no label or branch of the taxonomy",
             "Use one of its labels, or a part before a dot")  # fmt: skip
    if label == "OTHER" or label.startswith("OTHER."):
        fail(file, f"{field}.label", "OTHER.* is an outcome and no evidence", "Remove the row")
    code = row.get("control")
    if not isinstance(code, str) or code not in codes:
        fail(file, f"{field}.control", f"{code!r} is no control of this framework",
             "Use a code of its frameworks/ file")  # fmt: skip
    if row.get("relationship") not in RELATIONSHIPS:
        fail(file, f"{field}.relationship", f"{row.get('relationship')!r} is not known",
             f"Use one of {', '.join(sorted(RELATIONSHIPS))}")  # fmt: skip
    evidence = {"none"} if row["relationship"] == NOT_RELATED else EVIDENCE
    if row.get("evidence") not in evidence:
        fail(file, f"{field}.evidence", f"{row.get('evidence')!r} does not fit the relationship",
             f"Use one of {', '.join(sorted(evidence))}")  # fmt: skip
    strength = row.get("strength")
    if isinstance(strength, bool) or not isinstance(strength, int) or not 0 <= strength <= 10:
        fail(file, f"{field}.strength", "a whole number from 0 to 10 is needed", "Write e.g. 7")
    return label, code

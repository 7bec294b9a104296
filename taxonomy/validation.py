"""Checks of the knowledge files beyond reading: JSON Schemas, and what they cannot say.

Every check yields problems that name file, line, field and remedy.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match

from taxonomy.documents import KINDS, Document
from taxonomy.errors import KnowledgeFileError

SAFE = "OTHER.Safe"
OTHER = "OTHER"
SCHEMAS = "schemas"  # the folder of the JSON Schemas


def branches(label: str) -> list[str]:
    """The label and the branches above it, nearest first."""
    parts = label.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def newest_taxonomy(documents: Iterable[Document]) -> Document:
    """The taxonomy edition that a release of these documents has in force."""
    editions = [document for document in documents if document.kind == "taxonomy"]
    return max(editions, key=lambda document: edition_order(str(document.data["edition"])))


def edition_order(edition: str) -> tuple[int, ...]:
    """Sorts editions: 2026.9 before 2026.11, before its further edition 2026.11.1."""
    return tuple(int(part) for part in edition.split("."))


def validate(directory: Path, documents: list[Document]) -> None:
    """Check everything. Raises KnowledgeFileError with all problems found.

    The checks of meaning run only when every file has the right form.
    """
    problems = list(_schema_problems(directory, documents))
    if not problems:
        problems = [*_duplicate_files(documents), *meaning_problems(documents)]
    if problems:
        raise KnowledgeFileError(problems)


def _schema_problems(directory: Path, documents: list[Document]) -> Iterator[str]:
    for kind in KINDS.values():
        yield from misfits(directory, kind, [one for one in documents if one.kind == kind])


def misfits(directory: Path, kind: str, documents: Iterable[Document]) -> Iterator[str]:
    """Where documents of one kind do not fit the kind's JSON Schema in the knowledge folder.

    Raises KnowledgeFileError if the schema itself is missing or not valid.
    """
    documents = list(documents)
    if not documents:
        return
    validator = _validator(directory / SCHEMAS / f"{kind}.schema.json")
    for document in documents:
        for error in validator.iter_errors(document.data):
            nearest = best_match([error]) or error
            yield f"{document.place(tuple(nearest.absolute_path))}: {_explain(nearest)}"


def _validator(path: Path) -> Draft202012Validator:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
    except FileNotFoundError:
        raise KnowledgeFileError([f"{path}: the schema is missing. Restore it."]) from None
    except (ValueError, SchemaError) as error:
        raise KnowledgeFileError(
            [f"{path}: not a valid JSON Schema ({type(error).__name__}). Restore it."]
        ) from None
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _explain(error: ValidationError) -> str:
    """One sentence of what is wrong, and the schema's own description of what is meant."""
    meant = error.schema.get("description") if isinstance(error.schema, dict) else None
    message = error.message  # a long value is cut in the middle: the fault is named at the end
    if len(message) > 200:
        message = f"{message[:80]} … {message[-100:]}"
    return f"{message}. " + (f"Meant is: {meant}" if meant else "Correct it to fit the schema.")


def _duplicate_files(documents: list[Document]) -> Iterator[str]:
    seen: dict[tuple[str, ...], Document] = {}
    for document in documents:
        subject = identity(document)[:-1] or identity(document)
        key = (document.kind, *subject)
        if key in seen:
            yield f"{document.name}:1: is about the same as {seen[key].name}. Remove one of them."
        seen[key] = document


def identity(document: Document) -> tuple[str, ...]:
    """What makes a file's version unique: its subject, and the version as the last part."""
    data = document.data
    if document.kind == "taxonomy":
        return (data["edition"],)
    if document.kind == "detector":
        return data["detector"], data["version"]
    if document.kind == "migration":
        return data["from"], data["to"], data["version"]
    return data["framework"], data["edition"], data["version"]


def meaning_problems(documents: list[Document]) -> Iterator[str]:
    """What the schemas cannot say, of files that fit them."""
    for document in documents:
        if document.kind == "taxonomy":
            yield from _taxonomy_problems(document)
        elif document.kind == "framework":
            yield from _framework_problems(document)
    taxonomy = newest_taxonomy(documents)
    yield from _missing_outcome(taxonomy)
    frameworks = {
        (document.data["framework"], document.data["edition"]): document
        for document in documents
        if document.kind == "framework"
    }
    for document in documents:
        if document.kind == "detector":
            yield from _detector_problems(document, taxonomy)
        elif document.kind == "crosswalk":
            key = (document.data["framework"], document.data["edition"])
            yield from _crosswalk_problems(document, taxonomy, frameworks.get(key))


def _taxonomy_problems(document: Document) -> Iterator[str]:
    labels: dict[str, Any] = document.data["labels"]
    parents = {branch for label in labels for branch in branches(label)[1:]}
    owner: dict[str, str] = {}
    for name, label in labels.items():
        place = document.place(("labels", name))
        parent = branches(name)[1]
        if label.get("parent", parent) != parent:
            yield (
                f"{document.place(('labels', name, 'parent'))}: {label['parent']} is not the "
                f"parent of {name}. Write {parent}, or leave it out: it follows from the name."
            )
        if name in parents:
            yield f"{place}: is a label and a branch of other labels. Give it a part of its own."
        if (label["severity"] == "none") != (name == SAFE):
            yield f"{place}: severity `none` is for {SAFE} alone. Give another severity."
        for alias in label["aliases"]:
            first = owner.setdefault(alias, name)
            if first != name:
                yield f"{place}: the alias {alias!r} belongs to {first} already. Remove one."


def _missing_outcome(taxonomy: Document) -> Iterator[str]:
    """Of the edition in force: the earlier edition 2025.09 had no label for "nothing found"."""
    if SAFE not in taxonomy.data["labels"]:
        yield f"{taxonomy.place(('labels',))}: {SAFE} is missing. Add it."


def _framework_problems(document: Document) -> Iterator[str]:
    data = document.data
    seen: set[str] = set()
    for index, control in enumerate(data["controls"]):
        code = control["code"]
        place = document.place(("controls", index, "code"))
        if code in seen:
            yield f"{place}: {code} stands twice. Remove one of them."
        seen.add(code)
        if not re.search(data["code_pattern"], code):
            yield (
                f"{place}: {code} is not a code of edition {data['edition']} "
                "(code_pattern). Look it up in that edition."
            )
    if data["complete"] and len(data["controls"]) != data["official_count"]:
        yield (
            f"{document.place(('official_count',))}: {data['official_count']} controls are "
            f"announced and {len(data['controls'])} listed. Add what is missing, or set "
            "complete to false."
        )


def _detector_problems(document: Document, taxonomy: Document) -> Iterator[str]:
    known = taxonomy.data["labels"]
    for label, meaning in document.data["labels"].items():
        for canonical in canonical_labels(meaning):
            if canonical not in known:
                yield (
                    f"{document.place(('labels', label))}: {canonical} is not in taxonomy "
                    f"{taxonomy.data['edition']}. Use one of its labels."
                )


def unreached_labels(documents: Iterable[Document]) -> Iterator[str]:
    """Labels of the taxonomy in force that no detector's file leads to, as warnings.

    Not a fault by itself: a label can wait for a detector, or come from a model. OTHER.* are
    outcomes of the engine.
    """
    documents = list(documents)
    taxonomy = newest_taxonomy(documents)
    reached = {
        canonical
        for document in documents
        if document.kind == "detector"
        for meaning in document.data["labels"].values()
        for canonical in canonical_labels(meaning)
    }
    for label in taxonomy.data["labels"]:
        if label not in reached and branches(label)[-1] != OTHER:
            yield (
                f"{taxonomy.place(('labels', label))}: no detector's label leads to {label}. "
                "Map one to it if a detector can find it."
            )


def canonical_labels(meaning: dict[str, Any]) -> list[str]:
    """The canonical labels of an entry of a detector file; none unless it is mapped."""
    canonical = meaning.get("canonical", [])
    return [canonical] if isinstance(canonical, str) else list(canonical)


def _crosswalk_problems(
    document: Document, taxonomy: Document, framework: Document | None
) -> Iterator[str]:
    data = document.data
    if framework is None:
        yield (
            f"{document.place(('edition',))}: there is no file for {data['framework']}@"
            f"{data['edition']} under frameworks/. Add it or correct the edition."
        )
        return
    edition = taxonomy.data["edition"]
    if data["version"].rpartition(".")[0] != edition:
        yield (
            f"{document.place(('version',))}: {data['version']} belongs to another taxonomy than "
            f"{edition}. Check the rows and set the version to {edition}.1."
        )
    codes = {control["code"] for control in framework.data["controls"]}
    known = {branch for label in taxonomy.data["labels"] for branch in branches(label)}
    seen: set[tuple[str, str]] = set()
    for index, row in enumerate(data["rows"]):
        yield from _row_problems(document, index, known, codes, framework.name)
        pair = (row["label"], row["control"])
        if pair in seen:
            place = document.place(("rows", index))
            yield f"{place}: {' and '.join(pair)} stand twice. Remove one of the rows."
        seen.add(pair)
    yield from _no_control_problems(document, known)


def _no_control_problems(document: Document, known: set[str]) -> Iterator[str]:
    """A label without controls here, said in so many words, must exist and have no row."""
    related = {
        row["label"] for row in document.data["rows"] if row["relationship"] != "not_related"
    }
    seen: set[str] = set()
    for index, entry in enumerate(document.data.get("no_controls", [])):
        label, place = entry["label"], document.place(("no_controls", index))
        if label not in known:
            yield f"{place}: {label} is no label or branch of the taxonomy. Use one of them."
        elif related & set(branches(label)):
            yield f"{place}: {label} has controls in rows. Remove the entry or those rows."
        elif label in seen:
            yield f"{place}: {label} stands twice. Remove one of the entries."
        seen.add(label)


def _row_problems(
    document: Document, index: int, known: set[str], codes: set[str], framework: str
) -> Iterator[str]:
    label, control = (document.data["rows"][index][key] for key in ("label", "control"))
    place = document.place(("rows", index))
    if label not in known:
        yield f"{place}: {label} is no label or branch of the taxonomy. Use one of them."
    elif branches(label)[-1] == OTHER:
        yield f"{place}: {label} is an outcome and evidence of nothing. Remove the row."
    if control not in codes:
        yield f"{place}: {control} is not in {framework}. Use a code of that file."

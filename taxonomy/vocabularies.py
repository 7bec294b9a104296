"""External vocabularies beside the taxonomy: what each label matches in them, read and checked.

The files are no part of a release: nothing that maps or reports depends on them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taxonomy.documents import Document, KeyPath, read_document
from taxonomy.errors import KnowledgeFileError
from taxonomy.validation import OTHER, branches, misfits

FOLDER = "vocabularies"
Predicate = Literal["exact", "close", "broad", "narrow", "related"]
Controls = Mapping[str, Mapping[str, str]]  # framework@edition to code to title


@dataclass(frozen=True, slots=True)
class Match:
    """A label or branch matches one concept. `broad`: the concept is wider than the label."""

    label: str
    code: str
    predicate: Predicate
    why: str


@dataclass(frozen=True, slots=True)
class NoMatch:
    """A label or branch matches no concept."""

    label: str
    why: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One edition of an external vocabulary, and how the labels stand to it."""

    vocabulary: str
    edition: str
    version: str
    taxonomy: str
    mapped: str
    name: str
    publisher: str
    source: str
    prefix: str
    iri: str
    titles: Mapping[str, str]  # of every concept, by code
    mappings: tuple[Match, ...]
    no_match: tuple[NoMatch, ...]

    def rows(self, label: str) -> tuple[Match, ...] | tuple[NoMatch]:
        """What holds for a label: the rows of its nearest branch that has any."""
        for branch in branches(label):
            matches = tuple(row for row in self.mappings if row.label == branch)
            if matches:
                return matches
            for gap in self.no_match:
                if gap.label == branch:
                    return (gap,)
        raise KeyError(label)  # a vocabulary that was read covers every label


def read_vocabularies(directory: Path) -> list[Vocabulary]:
    """Every vocabulary of the knowledge folder. Raises KnowledgeFileError with all problems."""
    documents = _read_folder(directory / FOLDER, kind="vocabulary")
    if not documents:
        raise KnowledgeFileError(
            [f"{directory / FOLDER}: holds no vocabulary. Add {FOLDER}/NAME.yaml."]
        )
    problems = list(misfits(directory, "vocabulary", documents))
    if problems:
        raise KnowledgeFileError(problems)
    editions = read_taxonomies(directory)
    controls = _read_controls(directory)
    problems = list(_shared_prefixes(documents))
    for document in documents:
        problems += _problems(document, editions=editions, controls=controls)
    if problems:
        raise KnowledgeFileError(problems)
    return [_vocabulary(document, controls=controls) for document in documents]


def read_taxonomies(directory: Path) -> dict[str, Document]:
    """The editions of the taxonomy, by edition."""
    documents = _read_folder(directory / "taxonomy", kind="taxonomy")
    return {str(document.data.get("edition")): document for document in documents}


def _read_folder(folder: Path, *, kind: str) -> list[Document]:
    return [read_document(kind, path) for path in sorted(folder.glob("*.yaml"))]


def _read_controls(directory: Path) -> dict[str, dict[str, str]]:
    return {
        f"{document.data['framework']}@{document.data['edition']}": {
            control["code"]: control["title"] for control in document.data["controls"]
        }
        for document in _read_folder(directory / "frameworks", kind="framework")
    }


def _titles(document: Document, *, controls: Controls) -> Mapping[str, str]:
    if "framework" in document.data:
        return controls.get(document.data["framework"], {})
    return {concept["code"]: concept["title"] for concept in document.data["concepts"]}


def _vocabulary(document: Document, *, controls: Controls) -> Vocabulary:
    data = document.data
    return Vocabulary(
        vocabulary=data["vocabulary"],
        edition=data["edition"],
        version=data["version"],
        taxonomy=data["taxonomy"],
        mapped=data["mapped"],
        name=data["name"],
        publisher=data["publisher"],
        source=data["source"],
        prefix=data["prefix"],
        iri=data["iri"],
        titles=_titles(document, controls=controls),
        mappings=tuple(Match(**row) for row in data["mappings"]),
        no_match=tuple(NoMatch(**row) for row in data["no_match"]),
    )


def _shared_prefixes(documents: Iterable[Document]) -> Iterator[str]:
    owner: dict[str, Document] = {}
    for document in documents:
        prefix = document.data["prefix"]
        first = owner.setdefault(prefix, document)
        if first is not document:
            place = document.place(("prefix",))
            yield f"{place}: {prefix} is the prefix of {first.name}. Give another one."


def _problems(
    document: Document, *, editions: Mapping[str, Document], controls: Controls
) -> Iterator[str]:
    edition = document.data["taxonomy"]
    if edition not in editions:
        place = document.place(("taxonomy",))
        yield f"{place}: there is no edition {edition}. Name one of {', '.join(editions)}."
        return
    framework = document.data.get("framework")
    if framework is not None and framework not in controls:
        place = document.place(("framework",))
        yield f"{place}: there is no framework {framework}. Name one of frameworks/."
        return
    labels: list[str] = list(editions[edition].data["labels"])
    yield from _unknown_labels(document, labels=labels)
    yield from _code_problems(document, titles=_titles(document, controls=controls))
    yield from _double_rows(document)
    yield from _uncovered(document, labels=labels)


def _rows(document: Document) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    for field in ("mappings", "no_match"):
        for index, row in enumerate(document.data[field]):
            yield (field, index), row


def _unknown_labels(document: Document, *, labels: Iterable[str]) -> Iterator[str]:
    known = {branch for label in labels for branch in branches(label)}
    for path, row in _rows(document):
        place = document.place((*path, "label"))
        label = row["label"]
        if label not in known:
            yield (
                f"{place}: {label} is no label or branch of taxonomy {document.data['taxonomy']}. "
                "Correct the name."
            )
        elif path[0] == "mappings" and OTHER in branches(label):
            yield f"{place}: {label} has no category to match. Put it under no_match."


def _code_problems(document: Document, *, titles: Mapping[str, str]) -> Iterator[str]:
    origin = document.data.get("framework", "the concepts of this file")
    for index, row in enumerate(document.data["mappings"]):
        if row["code"] not in titles:
            place = document.place(("mappings", index, "code"))
            yield f"{place}: {row['code']} is not in {origin}. Correct the code."


def _double_rows(document: Document) -> Iterator[str]:
    seen: set[tuple[str, str | None]] = set()
    mapped = {row["label"] for row in document.data["mappings"]}
    for path, row in _rows(document):
        place = document.place(path)
        key = (row["label"], row.get("code"))
        if key in seen:
            what = " ".join(part for part in key if part)
            yield f"{place}: {what} stands here twice. Remove one row."
        elif path[0] == "no_match" and row["label"] in mapped:
            yield f"{place}: {row['label']} is mapped as well. Keep the mapping or this row."
        seen.add(key)


def _uncovered(document: Document, *, labels: Iterable[str]) -> Iterator[str]:
    covered = {row["label"] for _, row in _rows(document)}
    for label in labels:
        if covered.isdisjoint(branches(label)):
            place = document.place(("mappings",))
            yield f"{place}: {label} is not covered. Add a mapping, or a row under no_match."

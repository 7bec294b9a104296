"""From edited documents to a release: a new version of what changed, checks, rows.

Everything that was not edited keeps its edition. Where the taxonomy changes, each crosswalk gets
a new version too, because its version says whose labels it speaks of. A document that comes out
as an earlier version had it *is* that version: going back makes no new edition.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from taxonomy import loading
from taxonomy.documents import Document
from taxonomy.errors import KnowledgeFileError
from taxonomy.models import (
    CrosswalkEdition,
    DetectorMap,
    Edition,
    FrameworkEdition,
    KnowledgeRelease,
    ReleaseSource,
    TaxonomyEdition,
)
from taxonomy.objects import Edited, edition_name
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.validation import meaning_problems, misfits


@dataclass(slots=True)
class Candidate:
    """A release as it would be: every file, those that are new, and the rows of the others."""

    base: KnowledgeRelease
    files: list[Document] = field(default_factory=list)
    fresh: list[Document] = field(default_factory=list)
    rows: list[Edition] = field(default_factory=list)

    @property
    def documents(self) -> KnowledgeDocuments:
        """As the other apps take it."""

        def data(kind: str) -> list[dict[str, Any]]:
            return [file.data for file in self.files if file.kind == kind]

        return KnowledgeDocuments(
            loading.next_serial(self.base),
            data("taxonomy")[0],
            data("detector"),
            data("framework"),
            data("crosswalk"),
        )

    def keep(self, kind: str, row: Edition) -> None:
        """Take an edition that is there."""
        self.files.append(_file(kind, row.document))
        self.rows.append(row)

    def add(self, kind: str, data: dict[str, Any]) -> None:
        """Take a document that will be a new edition."""
        file = _file(kind, data)
        self.files.append(file)
        self.fresh.append(file)


def candidate(edited: Edited, *, base: KnowledgeRelease) -> Candidate:
    """The release that the edits to `base` would make. Reads the database, writes nothing."""
    found = Candidate(base)
    _add_taxonomy(found, edited)
    edition: str = found.files[0].data["edition"]
    for framework in base.frameworks.all():
        found.keep("framework", framework)
    _add_crosswalks(found, edited, edition)
    _add_detectors(found, edited, edition)
    return found


def _add_taxonomy(found: Candidate, edited: Edited) -> None:
    data = edited.documents.taxonomy
    if not edited.taxonomy:
        found.keep("taxonomy", found.base.taxonomy)
        return
    for row in TaxonomyEdition.objects.all():
        if row.document["labels"] == data["labels"]:
            found.keep("taxonomy", row)
            return
    found.add("taxonomy", {**data, "edition": _next_edition(data["edition"])})


def _add_crosswalks(found: Candidate, edited: Edited, edition: str) -> None:
    released = {
        edition_name(row.document): row for row in found.base.crosswalks.select_related("framework")
    }
    for data in edited.documents.crosswalks:
        name = edition_name(data)
        row = released[name]
        if not edited.taxonomy and name not in edited.crosswalks:
            found.keep("crosswalk", row)
            continue
        earlier = list(CrosswalkEdition.objects.filter(framework=row.framework))
        _take(found, "crosswalk", data, edition, earlier)


def _add_detectors(found: Candidate, edited: Edited, edition: str) -> None:
    released = {row.detector: row for row in found.base.detectors.all()}
    for data in edited.documents.detectors:
        name = data["detector"]
        if name in released and name not in edited.detectors:
            found.keep("detector", released[name])
            continue
        _take(found, "detector", data, edition, list(DetectorMap.objects.filter(detector=name)))


def _take(
    found: Candidate,
    kind: str,
    data: dict[str, Any],
    edition: str,
    earlier: Iterable[DetectorMap | CrosswalkEdition],
) -> None:
    """An earlier version of this edition with the same content, or else the next version."""
    versions = [(row.version.rpartition("."), row) for row in earlier]
    for (of_edition, _, _), row in versions:
        if of_edition == edition and _content(row.document) == _content(data):
            found.keep(kind, row)
            return
    serials = [int(serial) for (of_edition, _, serial), _ in versions if of_edition == edition]
    found.add(kind, {**data, "version": f"{edition}.{max(serials, default=0) + 1}"})


def _content(data: dict[str, Any]) -> dict[str, Any]:
    """A document without its version; the order of a crosswalk's rows does not matter."""
    content = {name: value for name, value in data.items() if name != "version"}
    if "rows" in content:
        content["rows"] = sorted(content["rows"], key=lambda row: (row["label"], row["control"]))
    return content


def _next_edition(now: str) -> str:
    """A further edition of the one in force, whatever the month: 2026.11.1 after 2026.11.

    A new month's edition comes by files: what goes by an edition's month (callers that name one,
    calibrators) stays good for those that change sets make of it.
    """
    year, month, *further = now.split(".")
    number = int(further[0]) if further else 0
    name = now
    while name == now or TaxonomyEdition.objects.filter(edition=name).exists():
        number += 1
        name = f"{year}.{month}.{number}"
    return name


def _file(kind: str, data: dict[str, Any]) -> Document:
    match kind:
        case "taxonomy":
            name = f"taxonomy/{data['edition']}.yaml"
        case "detector":
            name = f"detectors/{data['detector']}.yaml"
        case _:
            name = f"{kind}s/{data['framework']}-{data['edition']}.yaml"
    return Document(kind, Path(name), name, data, {})


def problems_of(found: Candidate) -> list[str]:
    """Everything that stands against releasing the candidate; empty if nothing does."""
    problems: list[str] = []
    for kind in ("taxonomy", "detector", "crosswalk"):
        fresh = [file for file in found.fresh if file.kind == kind]
        problems += misfits(settings.KNOWLEDGE_DIR, kind, fresh)
    problems = problems or list(meaning_problems(found.files))
    if problems:
        return problems
    try:
        loading.ask_other_apps(found.documents)
    except KnowledgeFileError as error:
        return list(error.problems)
    return []


def release_candidate(found: Candidate, *, actor: str) -> KnowledgeRelease:
    """Put the candidate in force, in a transaction that holds `loading.lock()`.

    Raises KnowledgeFileError with every problem.
    """
    problems = problems_of(found)
    if problems:
        raise KnowledgeFileError(problems)
    frameworks: loading.Frameworks = {
        (row.framework, row.edition): row for row in found.rows if isinstance(row, FrameworkEdition)
    }
    made = [loading.create_edition(file, frameworks) for file in found.fresh]
    return loading.create_release(
        [*found.rows, *made], after=found.base, actor=actor, source=ReleaseSource.ADMIN
    )

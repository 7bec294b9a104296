"""Verbs on the knowledge: load a folder of files as editions, and put them in force."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.db import transaction

from audit.services import record
from taxonomy import loading
from taxonomy.bundles import unpack_bundle
from taxonomy.documents import Document, read_documents, read_plan
from taxonomy.errors import KnowledgeFileError
from taxonomy.migration import check_plan
from taxonomy.models import KnowledgeRelease, ReleaseSource
from taxonomy.selectors import KnowledgeDocuments, current_release
from taxonomy.validation import newest_taxonomy, unreached_labels, validate
from taxonomy.vocabularies import FOLDER as VOCABULARIES
from taxonomy.vocabularies import read_taxonomies, read_vocabularies
from tenants.context import public_context


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did. `serial` is that of the release in force afterwards."""

    serial: int
    released: bool
    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of the files found. Problems stop a load; warnings do not."""

    files: int
    labels: int
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return asdict(self)


def check_knowledge(*, directory: Path, against_loaded: bool = True) -> CheckReport:
    """All that a load would refuse, without loading anything.

    `against_loaded` also looks for files that changed without a new version since they were
    loaded; it needs the database, the other checks do not. Never raises KnowledgeFileError.
    """
    try:
        documents = read_documents(directory)
        validate(directory, documents)
        loading.ask_other_apps(_candidate(documents, 1))
        if (directory / VOCABULARIES).is_dir():
            read_vocabularies(directory)
        plans = _read_plans(directory)
        if against_loaded:
            with public_context():
                problems = loading.unbumped([*documents, *plans])
            if problems:
                raise KnowledgeFileError(problems)
    except KnowledgeFileError as error:
        return CheckReport(0, 0, problems=error.problems)
    labels = len(newest_taxonomy(documents).data["labels"])
    return CheckReport(len(documents), labels, warnings=tuple(unreached_labels(documents)))


def _read_plans(directory: Path) -> list[Document]:
    """The migration plans beside the release's files, checked. Raises KnowledgeFileError."""
    editions = read_taxonomies(directory)
    plans = [read_plan(path) for path in sorted((directory / "migrations").glob("*.yaml"))]
    problems: list[str] = []
    for plan in plans:
        old, new = (editions.get(str(plan.data.get(key))) for key in ("from", "to"))
        if old is None or new is None:
            problems.append(f"{plan.place(('from',))}: names no editions of taxonomy/. Correct it.")
            continue
        problems += check_plan(plan, directory=directory, old=old.data, new=new.data)
    if problems:
        raise KnowledgeFileError(problems)
    return plans


def load_knowledge(*, directory: Path, actor: str, discard_published: bool = False) -> LoadReport:
    """Load every file of the folder, and release the set if it differs from the one in force.

    Migration plans are loaded too and belong to no release.

    Idempotent: a version that is loaded already with the same content is left alone. All or
    nothing, in one transaction. Raises KnowledgeFileError with every problem found, among them
    a version that is loaded already with another content.

    The files on which a change set was published leave it in force. Other files that lack what it
    published are refused, unless `discard_published` says to go back to the files.
    """
    documents = read_documents(directory)
    validate(directory, documents)
    plans = _read_plans(directory)
    with public_context(), transaction.atomic():
        loading.lock()
        in_force = current_release()
        if not discard_published:
            _refuse_to_undo(in_force, documents)
        loading.ask_other_apps(_candidate(documents, loading.next_serial(in_force)))
        loaded = loading.load_editions([*documents, *plans])
        report = _release(documents, loaded, in_force, actor, discard_published)
        if report.released:
            record(
                action="knowledge.released",
                actor=actor,
                target=str(report.serial),
                detail={"added": report.added},
            )
        for name in sorted({plan.name for plan in plans} & set(report.added)):
            record(action="knowledge.plan_loaded", actor=actor, target=name)
    return report


def import_bundle(
    *, path: Path, schemas: Path, actor: str, discard_published: bool = False
) -> LoadReport:
    """Load the release that a bundle holds, and put it in force. `schemas`: our JSON Schemas.

    All or nothing, like load_knowledge. Raises KnowledgeFileError.
    """
    with TemporaryDirectory() as folder:
        unpack_bundle(path, Path(folder), schemas)
        return load_knowledge(
            directory=Path(folder), actor=actor, discard_published=discard_published
        )


def _candidate(documents: list[Document], serial: int) -> KnowledgeDocuments:
    def data(kind: str) -> list[dict[str, Any]]:
        return [document.data for document in documents if document.kind == kind]

    return KnowledgeDocuments(
        serial=serial,
        taxonomy=newest_taxonomy(documents).data,
        detectors=data("detector"),
        frameworks=data("framework"),
        crosswalks=data("crosswalk"),
    )


def _release(
    documents: list[Document],
    loaded: loading.Loaded,
    in_force: KnowledgeRelease | None,
    actor: str,
    discard_published: bool,
) -> LoadReport:
    """Put the set in force, unless it is already, or stands under what is."""
    rows = [loaded.rows[document.name] for document in _released_files(documents)]
    sha256 = loading.release_digest(rows)
    stays = in_force is not None and (
        sha256 == in_force.sha256 or (sha256 == _files_under(in_force) and not discard_published)
    )
    if in_force is not None and stays:
        return LoadReport(in_force.serial, False, loaded.added, loaded.unchanged)
    release = loading.create_release(rows, after=in_force, actor=actor)
    return LoadReport(release.serial, True, loaded.added, loaded.unchanged)


def _released_files(documents: list[Document]) -> list[Document]:
    """Of the taxonomy editions, the newest alone is part of a release."""
    newest = newest_taxonomy(documents)
    return [newest, *(document for document in documents if document.kind != "taxonomy")]


def _files_under(in_force: KnowledgeRelease) -> str | None:
    """Digest of the files' release on which change sets have made the one in force."""
    if in_force.source != ReleaseSource.ADMIN or in_force.files_serial is None:
        return None
    return KnowledgeRelease.objects.get(serial=in_force.files_serial).sha256


def _refuse_to_undo(in_force: KnowledgeRelease | None, documents: list[Document]) -> None:
    """Changed files that lack what a change set published must not silently take it back."""
    if in_force is None or in_force.source != ReleaseSource.ADMIN:
        return
    files = {document.sha256 for document in documents}
    under = KnowledgeRelease.objects.get(serial=in_force.files_serial or in_force.serial)
    before = {row.sha256 for row in loading.editions_of(under)}
    if {document.sha256 for document in _released_files(documents)} == before:
        return  # the same files again: they leave in force what was published on them
    missing = [row for row in loading.editions_of(in_force) if row.sha256 not in before | files]
    problems = [
        f"{row} was published by a change set (release {in_force.serial}) and is not in these "
        "files. Put it there (manage.py export_bundle writes the files in force), or load "
        "with --discard-published to take it back."
        for row in missing
    ]
    gone = _detectors_of(under) - _detectors_of(in_force)
    problems += [
        f"{document.name}: {document.data['detector']} was taken out by a change set (release "
        f"{in_force.serial}). Take the file out too, or load with --discard-published to bring "
        "the detector back."
        for document in documents
        if document.kind == "detector" and document.data["detector"] in gone
    ]
    if problems:
        raise KnowledgeFileError(problems)


def _detectors_of(release: KnowledgeRelease) -> set[str]:
    return set(release.detectors.values_list("detector", flat=True))

"""Verbs on the knowledge: load a folder of files as editions, and put them in force."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.db import connection, transaction

from audit.services import record
from taxonomy.bundles import unpack_bundle
from taxonomy.documents import Document, digest, read_documents, read_plan
from taxonomy.errors import KnowledgeFileError
from taxonomy.migration import check_plan
from taxonomy.models import (
    Control,
    CrosswalkEdition,
    CrosswalkRow,
    DetectorLabel,
    DetectorMap,
    Disposition,
    Edition,
    FrameworkEdition,
    KnowledgeRelease,
    Label,
    ReleasedCrosswalk,
    ReleasedDetector,
    ReleasedFramework,
    TaxonomyEdition,
)
from taxonomy.selectors import KnowledgeDocuments, current_release
from taxonomy.signals import knowledge_checked
from taxonomy.validation import (
    branches,
    canonical_labels,
    identity,
    newest_taxonomy,
    unreached_labels,
    validate,
)
from taxonomy.vocabularies import FOLDER as VOCABULARIES
from taxonomy.vocabularies import read_taxonomies, read_vocabularies
from tenants.context import public_context

# Any constant: one load at a time, whoever starts it.
_LOAD_LOCK = 7_421_001


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
        _ask_other_apps(documents, 1)
        _check_companions(directory)
        if against_loaded:
            with public_context():
                problems = _unbumped(documents)
            if problems:
                raise KnowledgeFileError(problems)
    except KnowledgeFileError as error:
        return CheckReport(0, 0, problems=error.problems)
    labels = len(newest_taxonomy(documents).data["labels"])
    return CheckReport(len(documents), labels, warnings=tuple(unreached_labels(documents)))


def _check_companions(directory: Path) -> None:
    """Files that belong to no release: external vocabularies and migration plans, if any."""
    if (directory / VOCABULARIES).is_dir():
        read_vocabularies(directory)
    editions = read_taxonomies(directory)
    problems: list[str] = []
    for path in sorted((directory / "migrations").glob("*.yaml")):
        plan = read_plan(path)
        old, new = (editions.get(str(plan.data.get(key))) for key in ("from", "to"))
        if old is None or new is None:
            problems.append(f"{plan.place(('from',))}: names no editions of taxonomy/. Correct it.")
            continue
        problems += check_plan(plan, directory=directory, old=old.data, new=new.data)
    if problems:
        raise KnowledgeFileError(problems)


def load_knowledge(*, directory: Path, actor: str) -> LoadReport:
    """Load every file of the folder, and release the set if it differs from the one in force.

    Idempotent: a version that is loaded already with the same content is left alone. All or
    nothing, in one transaction. Raises KnowledgeFileError with every problem found, among them
    a version that is loaded already with another content.
    """
    documents = read_documents(directory)
    validate(directory, documents)
    with public_context(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOAD_LOCK])
        in_force = current_release()
        _ask_other_apps(documents, _next_serial(in_force))
        loaded = _load_editions(documents)
        report = _release(documents, loaded, in_force, actor)
        if report.released:
            record(
                action="knowledge.released",
                actor=actor,
                target=str(report.serial),
                detail={"added": report.added},
            )
    return report


def import_bundle(*, path: Path, schemas: Path, actor: str) -> LoadReport:
    """Load the release that a bundle holds, and put it in force. `schemas`: our JSON Schemas.

    All or nothing, like load_knowledge. Raises KnowledgeFileError.
    """
    with TemporaryDirectory() as folder:
        unpack_bundle(path, Path(folder), schemas)
        return load_knowledge(directory=Path(folder), actor=actor)


def _ask_other_apps(documents: list[Document], serial: int) -> None:
    def data(kind: str) -> list[dict[str, Any]]:
        return [document.data for document in documents if document.kind == kind]

    candidate = KnowledgeDocuments(
        serial=serial,
        taxonomy=newest_taxonomy(documents).data,
        detectors=data("detector"),
        frameworks=data("framework"),
        crosswalks=data("crosswalk"),
    )
    answers = knowledge_checked.send(sender=load_knowledge, documents=candidate)
    problems = [problem for _, found in answers for problem in found or ()]
    if problems:
        raise KnowledgeFileError(problems)


def _next_serial(in_force: KnowledgeRelease | None) -> int:
    return 1 if in_force is None else in_force.serial + 1


@dataclass(slots=True)
class _Loaded:
    """Rows by document, and which documents were new."""

    rows: dict[str, Edition] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def _load_editions(documents: list[Document]) -> _Loaded:
    problems = _unbumped(documents)
    if problems:
        raise KnowledgeFileError(problems)
    loaded = _Loaded()
    frameworks: dict[tuple[str, ...], FrameworkEdition] = {}
    for document in documents:  # frameworks come before the crosswalks that point at them
        existing = _existing(document)
        row = existing or _CREATE[document.kind](document, frameworks)
        (loaded.unchanged if existing else loaded.added).append(document.name)
        loaded.rows[document.name] = row
        if isinstance(row, FrameworkEdition):
            frameworks[row.framework, row.edition] = row
    return loaded


def _unbumped(documents: list[Document]) -> list[str]:
    """Files that changed and kept their version: what is loaded never changes."""
    problems: list[str] = []
    for document in documents:
        existing = _existing(document)
        if existing is not None and existing.sha256 != document.sha256:
            field_name = "edition" if document.kind == "taxonomy" else "version"
            problems.append(
                f"{document.place((field_name,))}: {identity(document)[-1]} is loaded already "
                f"with another content. Give the changed file a new {field_name}."
            )
    return problems


def _existing(document: Document) -> Edition | None:
    key = identity(document)
    if document.kind == "taxonomy":
        return TaxonomyEdition.objects.filter(edition=key[0]).first()
    if document.kind == "detector":
        return DetectorMap.objects.filter(detector=key[0], version=key[1]).first()
    if document.kind == "framework":
        return FrameworkEdition.objects.filter(
            framework=key[0], edition=key[1], version=key[2]
        ).first()
    return CrosswalkEdition.objects.filter(
        framework__framework=key[0], framework__edition=key[1], version=key[2]
    ).first()


_Frameworks = dict[tuple[str, ...], FrameworkEdition]


def _create_taxonomy(document: Document, _: _Frameworks) -> Edition:
    edition = TaxonomyEdition.objects.create(
        edition=document.data["edition"], document=document.data, sha256=document.sha256
    )
    Label.objects.bulk_create(
        Label(
            edition=edition,
            name=name,
            parent=branches(name)[1],
            position=position,
            meaning=label["meaning"],
            boundary=label.get("boundary", ""),
            severity=label["severity"],
            aliases=label["aliases"],
        )
        for position, (name, label) in enumerate(document.data["labels"].items())
    )
    return edition


def _create_detector(document: Document, _: _Frameworks) -> Edition:
    data = document.data
    detector_map = DetectorMap.objects.create(
        detector=data["detector"],
        vendor=data.get("vendor") or "",
        version=data["version"],
        document=data,
        sha256=document.sha256,
    )
    DetectorLabel.objects.bulk_create(
        _detector_label(detector_map, label, meaning) for label, meaning in data["labels"].items()
    )
    return detector_map


def _detector_label(
    detector_map: DetectorMap, label: str, meaning: dict[str, Any]
) -> DetectorLabel:
    disposition = Disposition.MAPPED
    if "not_a_finding" in meaning:
        disposition = Disposition.NOT_A_FINDING
    elif "unmapped" in meaning:
        disposition = Disposition.UNMAPPED
    return DetectorLabel(
        detector_map=detector_map,
        label=label,
        canonical=canonical_labels(meaning),
        severity=meaning.get("severity") or "",
        disposition=disposition,
        reason=str(meaning.get("not_a_finding") or meaning.get("unmapped") or ""),
    )


def _create_framework(document: Document, _: _Frameworks) -> Edition:
    data = document.data
    edition = FrameworkEdition.objects.create(
        framework=data["framework"],
        edition=data["edition"],
        version=data["version"],
        name=data["name"],
        short_name=data["short_name"],
        publisher=data["publisher"],
        licence=f"{data['licence']['holder']}. {data['licence']['note']}",
        document=data,
        sha256=document.sha256,
    )
    Control.objects.bulk_create(
        Control(
            edition=edition,
            code=control["code"],
            title=control["title"],
            group=control["group"],
            position=position,
        )
        for position, control in enumerate(data["controls"])
    )
    return edition


def _create_crosswalk(document: Document, frameworks: _Frameworks) -> Edition:
    data = document.data
    framework = frameworks[data["framework"], data["edition"]]
    controls = {control.code: control for control in framework.controls.all()}
    crosswalk = CrosswalkEdition.objects.create(
        framework=framework, version=data["version"], document=data, sha256=document.sha256
    )
    CrosswalkRow.objects.bulk_create(
        CrosswalkRow(crosswalk=crosswalk, **{**row, "control": controls[row["control"]]})
        for row in data["rows"]
    )
    return crosswalk


_CREATE = {
    "taxonomy": _create_taxonomy,
    "detector": _create_detector,
    "framework": _create_framework,
    "crosswalk": _create_crosswalk,
}


def _release(
    documents: list[Document], loaded: _Loaded, in_force: KnowledgeRelease | None, actor: str
) -> LoadReport:
    """Put the set in force, unless it is already."""
    taxonomy = newest_taxonomy(documents)
    edition = TaxonomyEdition.objects.get(pk=loaded.rows[taxonomy.name].pk)
    chosen = [document for document in documents if document.kind != "taxonomy"]
    sha256 = digest(sorted([taxonomy.sha256, *(document.sha256 for document in chosen)]))
    if in_force is not None and in_force.sha256 == sha256:
        return LoadReport(in_force.serial, False, loaded.added, loaded.unchanged)
    release = KnowledgeRelease.objects.create(
        serial=_next_serial(in_force),
        taxonomy=edition,
        sha256=sha256,
        loaded_by=actor,
    )
    for document in chosen:
        row = loaded.rows[document.name]
        if isinstance(row, DetectorMap):
            ReleasedDetector.objects.create(release=release, detector_map=row)
        elif isinstance(row, FrameworkEdition):
            ReleasedFramework.objects.create(release=release, framework=row)
        elif isinstance(row, CrosswalkEdition):
            ReleasedCrosswalk.objects.create(release=release, crosswalk=row)
    return LoadReport(release.serial, True, loaded.added, loaded.unchanged)

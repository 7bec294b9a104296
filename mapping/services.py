"""Verbs of mapping: map one detector output or many, and keep what was answered."""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import uuid_utils
from django.conf import settings

from mapping.asking import models_in_force, versions_of
from mapping.earlier import in_edition
from mapping.engine import (
    Decisions,
    DetectorOutput,
    Engine,
    MappingResult,
    Thresholds,
)
from mapping.engine.batch import Resolve, map_all
from mapping.engines import engine_of_files
from mapping.golden import GoldenFileError, GoldenReport, check_cases, read_cases
from mapping.knowledge import compile_files
from mapping.onboarding.drafting import (
    Row,
    detector_file,
    first_cases,
    propose_rows,
    write_detector,
)
from mapping.onboarding.lists import read_label_list
from mapping.onboarding.proposing import proposals_of_files
from mapping.recording import hasher, safe_text
from mapping.review.in_force import decisions_in_force
from mapping.selectors import EngineInForce, engine_in_force
from mapping.store import insert_events
from mapping.thresholds import thresholds_in_force
from pillars.observability import metrics
from taxonomy.documents import read_documents
from taxonomy.errors import KnowledgeFileError
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.validation import newest_taxonomy
from tenants.selectors import TenantRef

SCHEMA_VERSION = "2"
# In whose name files are tried that belong to no tenant.
NOBODY = TenantRef(uuid.UUID(int=0), "nobody", "Nobody", "", "")


@dataclass(frozen=True, slots=True)
class MapItem:
    """One detector output with what the caller says about it. Text fields are not trusted."""

    detector: str
    output: Any
    detector_version: str | None = None
    vendor: str | None = None
    occurred_at: datetime | None = None
    raw_ref: str | None = None
    route: str | None = None
    environment: str | None = None
    expected_detectors: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    label_descriptions: Mapping[str, str] | None = None
    taxonomy: str | None = None  # edition of the answer; None is the one in force


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf items are mapped."""

    tenant: TenantRef
    api_key_id: uuid.UUID
    request_id: str


class Own(NamedTuple):
    """What the tenant's people have said beside the knowledge."""

    decisions: Decisions
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class MappedItem:
    """The answer to an item, and the event row that keeps it."""

    response: dict[str, Any]
    row: dict[str, Any]


def map_items(*, origin: Origin, items: Sequence[MapItem]) -> list[MappedItem]:
    """Map items without storing anything. Raises NoKnowledgeError.

    Where an item names an edition to which no way leads back, it is answered in the one in force:
    see selectors.check_edition.
    """
    in_force = engine_in_force(origin.tenant)
    own = Own(decisions_in_force(origin.tenant), thresholds_in_force(origin.tenant))
    hash_text = hasher(origin.tenant)
    now = datetime.now(UTC)
    models = models_in_force(origin.tenant, in_force.serial)
    results = map_all(
        in_force.engine,
        [_output(item) for item in items],
        hash_text,
        decisions=own.decisions,
        thresholds=own.thresholds,
        resolve=models.resolve if models else None,
        model_first=models is not None and models.first,
    )
    return [
        _answer(in_force, origin, item, result, hash_text, now)
        for item, result in zip(items, results, strict=True)
    ]


def map_on_files(
    *, documents: KnowledgeDocuments, items: Sequence[MapItem], resolve: Resolve | None
) -> list[dict[str, Any]]:
    """The answers that `/map` would give on files that are in no release, for no tenant.

    `resolve`: as of map_all. Raises KnowledgeError. Needs no database.
    """
    in_force = engine_of_files(documents)
    origin = Origin(NOBODY, uuid.UUID(int=0), "")
    hash_text = hasher(NOBODY)
    now = datetime.now(UTC)
    outputs = [_output(item) for item in items]
    results = map_all(in_force.engine, outputs, hash_text, resolve=resolve)
    return [
        _answer(in_force, origin, item, result, hash_text, now).response
        for item, result in zip(items, results, strict=True)
    ]


def store_items(*, mapped: Sequence[MappedItem]) -> None:
    """Keep the events of mapped items, all or none. Safe to repeat."""
    insert_events([item.row for item in mapped])


def count_items(*, mapped: Sequence[MappedItem]) -> None:
    """Add mapped items to the metrics, once they are stored."""
    events: Counter[tuple[str, str]] = Counter()
    methods: Counter[str] = Counter()
    for item in mapped:
        row = item.row
        # A detector without a file is counted as "other": label values must be bounded.
        known = row["detector_map_version"] is not None
        events[row["detector"] if known else "other", row["decision"]] += 1
        methods.update(finding["method"] for finding in row["findings"])
    for (detector, decision), count in events.items():
        metrics.EVENTS.labels(detector, decision).inc(count)
    for method, count in methods.items():
        metrics.FINDINGS.labels(method).inc(count)


def check_golden(*, directory: Path, detectors: frozenset[str] = frozenset()) -> GoldenReport:
    """Answer the golden cases of a folder by the files beside them; loads and stores nothing.

    `detectors`: names of files under golden/; all of them if empty. Raises KnowledgeFileError for
    the knowledge files, GoldenFileError for the cases.
    """
    files = {path.stem: path for path in sorted((directory / "golden").glob("*.jsonl"))}
    unknown = detectors - files.keys()
    if unknown or not files:
        names = ", ".join(sorted(unknown)) or "any detector"
        raise GoldenFileError(f"{directory}/golden holds no cases for {names}. Check the name.")
    engine = Engine(
        compile_files(directory), threshold=settings.CONFIG.mapping.confidence_threshold
    )
    chosen = [files[name] for name in sorted(detectors or files)]
    return check_cases(engine, (case for path in chosen for case in read_cases(path)))


@dataclass(frozen=True, slots=True)
class DetectorDraft:
    """The files that were written for a new detector, and what was proposed for each label."""

    paths: list[Path]
    rows: list[Row]
    why_not: str = ""  # why retrieval had no part in it; empty if it had

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        labels = [
            {
                "label": row.vendor.label,
                "canonical": row.chosen,
                "confidence": row.confidence,
                "proposals": [proposal._asdict() for proposal in row.proposals],
            }
            for row in self.rows
        ]
        files = [str(path) for path in self.paths]
        return {"files": files, "labels": labels, "without_retrieval": self.why_not}


def add_detector(
    *,
    directory: Path,
    detector: str,
    vendor: str,
    category: str,
    source: str,
    detector_versions: str,
    labels: str,
    accept_lexical: bool = False,
) -> DetectorDraft:
    """Write a new detector's file and first golden cases, unless they would be refused.

    `labels`: text of the vendor's list (see onboarding.lists). Both files stay only if
    the whole folder is still valid with them. Raises OnboardingError, KnowledgeFileError.
    """
    documents = read_documents(directory)
    taxonomy = newest_taxonomy(documents).data
    listed = read_label_list(labels)
    proposals = proposals_of_files(
        taxonomy, [one.data for one in documents if one.kind == "detector"]
    )
    rows = propose_rows(
        proposals, listed, detector=detector, category=category, accept_lexical=accept_lexical
    )
    head = {
        "detector": detector,
        "vendor": vendor,
        "version": f"{taxonomy['edition']}.1",
        "category": category,
        "detector_versions": detector_versions,
        "sources": [source],
    }
    cases = first_cases(detector, rows)
    paths = write_detector(directory, detector, detector_file(head, rows), cases)
    try:
        compile_files(directory)
    except KnowledgeFileError:
        for path in paths:
            path.unlink()
        raise
    return DetectorDraft(paths, rows, proposals.why_not)


def _output(item: MapItem) -> DetectorOutput:
    return DetectorOutput(
        detector=item.detector,
        output=item.output,
        detector_version=item.detector_version,
        vendor=item.vendor,
        label_descriptions=item.label_descriptions,
    )


def _answer(
    in_force: EngineInForce,
    origin: Origin,
    item: MapItem,
    result: MappingResult,
    hash_text: Callable[[str], str],
    now: datetime,
) -> MappedItem:
    row = _row(in_force, origin, item, result, hash_text, now)
    by = {finding.by for finding in result.findings if finding.by is not None}
    if by:
        row["model_version"], row["calibrator_version"] = versions_of(by)
    response = _response(in_force, origin, result, row)
    if item.taxonomy is not None and item.taxonomy in in_force.ways_back:
        response = in_edition(response, in_force.ways_back[item.taxonomy])
    return MappedItem(response=response, row=row)


def _row(
    in_force: EngineInForce,
    origin: Origin,
    item: MapItem,
    result: MappingResult,
    hash_text: Callable[[str], str],
    now: datetime,
) -> dict[str, Any]:
    versions = in_force.engine.knowledge.versions
    expected = item.expected_detectors
    return {
        "id": str(uuid_utils.uuid7()),
        "received_at": now,
        "occurred_at": item.occurred_at,
        "detector": (
            result.detector if result.detector_map else safe_text(result.detector, hash_text)
        ),
        "detector_version": safe_text(item.detector_version, hash_text),
        "vendor": safe_text(item.vendor, hash_text) or result.vendor,
        "decision": result.decision,
        "severity": result.severity,
        "confidence": result.confidence,
        "labels": result.taxonomy,
        "scores": result.scores,
        "findings": [
            {
                "source_label": f.source_label,
                "source_digest": f.source_digest,
                "canonical": f.canonical,
                "confidence": f.confidence,
                "method": f.method,
                "score": f.score,
                "severity": f.severity,
                "count": f.count,
                **({"candidates": f.candidates} if f.candidates else {}),
            }
            for f in result.findings
        ],
        "output_shape": result.output_shape,
        "environment": item.environment,
        "expected_detectors": (
            [safe_text(name, hash_text) for name in expected] if expected else None
        ),
        "route": safe_text(item.route, hash_text),
        "raw_ref": safe_text(item.raw_ref, hash_text),
        "metadata": _safe_metadata(item.metadata, hash_text) if item.metadata else None,
        "request_id": origin.request_id,
        "api_key_id": str(origin.api_key_id),
        "release": in_force.serial,
        "taxonomy_version": versions.taxonomy,
        "detector_map_version": result.detector_map,
        "model_version": versions.model,
        "calibrator_version": versions.calibrator,
    }


def _safe_metadata(metadata: Mapping[str, Any], hash_text: Callable[[str], str]) -> dict[str, Any]:
    """What the earlier system's callers send, without anything that could quote raw text."""
    kept = {
        key: metadata[key]
        for key in ("conflict_resolution_applied", "aggregation_method", "coverage_achieved")
        if metadata.get(key) is not None
    }
    contributing = metadata.get("contributing_detectors")
    if contributing:
        kept["contributing_detectors"] = [safe_text(name, hash_text) for name in contributing]
    return kept


def _response(
    in_force: EngineInForce, origin: Origin, result: MappingResult, row: dict[str, Any]
) -> dict[str, Any]:
    version_info = in_force.answer_versions(result.detector_map)
    version_info["model"] = row["model_version"]
    version_info["calibrator"] = row["calibrator_version"]
    policy = None
    if row["environment"] is not None or row["expected_detectors"] is not None:
        policy = {
            "expected_detectors": row["expected_detectors"] or [],
            "environment": row["environment"],
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "event_id": row["id"],
        "decision": result.decision,
        "severity": result.severity,
        "taxonomy": result.taxonomy,
        "scores": result.scores,
        "confidence": result.confidence,
        "findings": row["findings"],
        "controls": result.controls,
        "notes": result.notes,
        "provenance": {
            "vendor": row["vendor"],
            "detector": row["detector"],
            "detector_version": row["detector_version"],
            "raw_ref": row["raw_ref"],
            "route": row["route"],
            "model": version_info["model"],
            "tenant_id": origin.tenant.slug,
            "ts": row["received_at"],
        },
        "policy_context": policy,
        "version_info": version_info,
    }

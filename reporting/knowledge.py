"""What a report needs of the tenant's knowledge: a framework, its crosswalk, who finds what."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mapping.selectors import documents_in_force, engine_in_force
from mapping.versions import Versions, versions_of
from reporting.errors import UnknownFrameworkError
from reporting.selectors import active_tenant
from taxonomy.models import FrameworkEdition
from tenants.context import public_context

OUTCOMES = "OTHER."  # labels for outcomes without a category: never evidence


@dataclass(frozen=True, slots=True)
class FrameworkChoice:
    """A framework that a report can be asked for."""

    framework: str
    edition: str
    short_name: str
    name: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control of the edition."""

    code: str
    title: str
    group: str


@dataclass(frozen=True, slots=True)
class Bearing:
    """What a finding of a label says about a control: the crosswalk row that holds for it."""

    evidence: str
    relationship: str
    strength: int
    rationale: str


@dataclass(frozen=True, slots=True)
class FrameworkKnowledge:
    """One framework edition as the tenant's knowledge release has it."""

    release: int
    taxonomy: str
    framework: str
    edition: str
    name: str
    short_name: str
    publisher: str
    licence: str
    complete: bool
    crosswalk: str
    controls: tuple[Control, ...]
    labels: frozenset[str]
    bearings: Mapping[str, Mapping[str, Bearing]]  # label -> code of a control -> row
    detectors: Mapping[str, frozenset[str]]  # detector -> canonical labels that it can report
    versions: Versions  # everything that is in force with this release

    @property
    def key(self) -> str:
        """`framework@edition`."""
        return f"{self.framework}@{self.edition}"


def framework_choices() -> list[FrameworkChoice]:
    """Frameworks with a crosswalk, by name. Raises NoReleaseError if nothing is loaded."""
    documents = documents_in_force()
    crossed = {_key(crosswalk) for crosswalk in documents.crosswalks}
    choices = [
        FrameworkChoice(doc["framework"], doc["edition"], doc["short_name"], doc["name"])
        for doc in documents.frameworks
        if _key(doc) in crossed
    ]
    return sorted(choices, key=lambda choice: (choice.short_name, choice.edition))


@lru_cache(maxsize=256)
def short_name(framework: str, edition: str) -> str:
    """What people call a framework: ISO 27001. Editions do not change, so it is looked up once."""
    with public_context():
        found = FrameworkEdition.objects.filter(framework=framework, edition=edition).first()
    return found.short_name if found is not None else framework


def framework_knowledge(framework: str, edition: str) -> FrameworkKnowledge:
    """One framework edition with its crosswalk. Raises UnknownFrameworkError, NoReleaseError."""
    documents = documents_in_force()
    wanted = (framework, edition)
    found = next((doc for doc in documents.frameworks if _key(doc) == wanted), None)
    crosswalk = next((doc for doc in documents.crosswalks if _key(doc) == wanted), None)
    if found is None or crosswalk is None:
        raise UnknownFrameworkError(f"{framework}@{edition}")
    labels = frozenset(documents.taxonomy["labels"])
    in_force = engine_in_force(active_tenant())
    return FrameworkKnowledge(
        release=documents.serial,
        taxonomy=documents.taxonomy["edition"],
        framework=framework,
        edition=edition,
        name=found["name"],
        short_name=found["short_name"],
        publisher=found["publisher"],
        licence=f"{found['licence']['holder']}. {found['licence']['note']}",
        complete=found["complete"],
        crosswalk=crosswalk["version"],
        controls=tuple(
            Control(control["code"], control["title"], control["group"])
            for control in found["controls"]
        ),
        labels=labels,
        bearings=_bearings(crosswalk["rows"], labels),
        detectors={doc["detector"]: _reportable(doc) for doc in documents.detectors},
        versions=versions_of(documents, in_force.engine.knowledge.versions),
    )


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["framework"], document["edition"]


def _bearings(rows: list[dict[str, Any]], labels: frozenset[str]) -> dict[str, dict[str, Bearing]]:
    """For each label the rows that hold for it: its own, and those of the branches above.

    Where several name the same control, the one nearest to the label holds; `not_related` says
    that a control does not apply although it does for the branch above.
    """
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["label"], {})[row["control"]] = row
    found: dict[str, dict[str, Bearing]] = {}
    for label in labels:
        if label.startswith(OUTCOMES):
            continue
        parts = label.split(".")
        held: dict[str, dict[str, Any]] = {}
        for length in range(1, len(parts) + 1):  # the nearest comes last and wins
            held.update(by_name.get(".".join(parts[:length]), {}))
        bearing = {
            code: Bearing(row["evidence"], row["relationship"], row["strength"], row["rationale"])
            for code, row in held.items()
            if row["relationship"] != "not_related"
        }
        if bearing:
            found[label] = bearing
    return found


def _reportable(detector: Mapping[str, Any]) -> frozenset[str]:
    """Canonical labels that a detector's file maps something to."""
    found: set[str] = set()
    for entry in detector.get("labels", {}).values():
        canonical = entry.get("canonical", ()) if isinstance(entry, dict) else ()
        found.update([canonical] if isinstance(canonical, str) else canonical)
    return frozenset(found)

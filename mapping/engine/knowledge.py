"""Everything that the engine knows: taxonomy, detector files, frameworks, crosswalks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from mapping.engine.crosswalks import build_controls
from mapping.engine.detectors import DetectorMap, build_detector, fold_name, index_detectors
from mapping.engine.documents import fail, list_of, mapping_of, text_of
from mapping.engine.types import OUTCOMES, SEVERITY_RANK, VersionInfo
from mapping.engine.vocabulary import fold

_TAXONOMY: Final = "taxonomy"
_LABEL = re.compile(r"[A-Z][A-Z0-9_]*(?:\.[A-Za-z0-9_]+)+")
_LEADING_NUMBER = re.compile(r"\D*(\d+)")
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Immutable; shared by all threads. Build it with from_documents."""

    versions: VersionInfo
    severities: Mapping[str, int]  # canonical label -> default severity rank
    controls: Mapping[str, tuple[str, ...]]  # canonical label -> sorted controls
    aliases: Mapping[str, str]  # folded name or alias of a canonical label -> that label
    detectors: Mapping[str, DetectorMap]  # by name
    _index: Mapping[str, DetectorMap]  # by folded name and alias

    @classmethod
    def from_documents(
        cls,
        taxonomy: Mapping[str, Any],
        detectors: Iterable[Mapping[str, Any]],
        frameworks: Iterable[Mapping[str, Any]],
        crosswalks: Iterable[Mapping[str, Any]],
        min_strength: int = 0,
    ) -> Self:
        """Checks and compiles the parsed YAML files.

        Answers name the controls of crosswalk rows with at least `min_strength` (0..10).
        Raises KnowledgeError, which names the file, the field and the remedy.
        """
        edition, severities, aliases = _taxonomy(taxonomy)
        maps: dict[str, DetectorMap] = {}
        for document in detectors:
            detector = build_detector(document, severities, edition)
            if detector.name in maps:
                fail(f"detectors/{detector.name}.yaml", "detector", "given twice", "Keep one file")
            maps[detector.name] = detector
        controls = build_controls(frameworks, crosswalks, severities, min_strength)
        versions = VersionInfo(
            taxonomy=edition,
            detector_maps={name: maps[name].version for name in sorted(maps)},
            frameworks=controls.frameworks,
            crosswalks=controls.crosswalks,
        )
        return cls(
            versions, severities, controls.by_label, aliases, maps, index_detectors(maps.values())
        )

    def find_detector(self, name: str, version: str | None = None) -> DetectorMap | None:
        """The file of a detector, by name or alias in any spelling.

        Where the version belongs to the name, it may come separately: `llama-guard` with
        version `3` or `3-8B` is `llama-guard-3`.
        """
        found = self.detectors.get(name)
        if found is not None or len(name) > _MAX_NAME:
            return found
        folded = fold_name(name)
        found = self._index.get(folded)
        if found is None and version is not None and len(version) <= _MAX_NAME:
            found = self._index.get(f"{folded}-{fold_name(version)}")
            leading = _LEADING_NUMBER.match(version)
            if found is None and leading is not None:
                found = self._index.get(f"{folded}-{leading.group(1)}")
        return found


def _taxonomy(document: Any) -> tuple[str, dict[str, int], dict[str, str]]:
    """Edition, default severity ranks, and the aliases of all labels that are no outcome."""
    body = mapping_of(document, _TAXONOMY, "the file")
    edition = text_of(body, "edition", _TAXONOMY)
    file = f"taxonomy/{edition}.yaml"
    severities: dict[str, int] = {}
    aliases: dict[str, str] = {}
    for label, entry in mapping_of(body.get("labels"), file, "labels").items():
        if not _LABEL.fullmatch(label):
            fail(file, f"labels.{label}", "not a label's form", "Write it like PII.Contact.Email")
        checked = mapping_of(entry, file, f"labels.{label}")
        severity = checked.get("severity")
        if not isinstance(severity, str) or severity not in SEVERITY_RANK:
            fail(file, f"labels.{label}.severity", f"{severity!r} is no severity",
                 f"Use one of {', '.join(SEVERITY_RANK)}")  # fmt: skip
        severities[label] = SEVERITY_RANK[severity]
        for alias in (label, *list_of(checked.get("aliases", []), file, f"labels.{label}.aliases")):
            if aliases.setdefault(fold(str(alias)), label) != label:
                other = aliases[fold(str(alias))]
                fail(file, f"labels.{label}.aliases", f"{alias!r} belongs to {other} already",
                     "Remove it from one of the two")  # fmt: skip
    for outcome in OUTCOMES:
        if outcome not in severities:
            fail(file, f"labels.{outcome}", "missing", "The engine answers with it: add it")
    outcomes = {alias for alias, label in aliases.items() if label.startswith("OTHER.")}
    return edition, severities, {k: v for k, v in aliases.items() if k not in outcomes}

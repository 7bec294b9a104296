"""The snapshot of versions: what stands behind answers and reports, as one object.

It is made once for each release (mapping.selectors keeps it beside the compiled engine) and must
not be changed by whoever gets it. `manage.py show_versions` and GET /versions have all of it and
the mapping mode, reports have all of it; an answer of /map has the part that answered, and
/health/ready names release, taxonomy and mode.
"""

from typing import TypedDict

from mapping.engine.types import VersionInfo
from taxonomy.objects import edition_name
from taxonomy.selectors import KnowledgeDocuments


class Versions(TypedDict):
    """Everything that can have a part in an answer given now."""

    release: int  # serial of the knowledge release
    taxonomy: str  # edition
    frameworks: dict[str, str]  # framework@edition -> version of our file
    crosswalks: dict[str, str]  # framework@edition -> version of the crosswalk
    detectors: dict[str, str]  # detector -> version of its file
    model: str | None  # None: rules alone map
    calibrator: str | None


class Served(TypedDict):
    """The versions of the language model, by their part."""

    live: str | None  # answers everybody; None: no model's server is named
    trial: str | None  # answers some beside it
    shadow: str | None  # is asked beside it and answers nobody


class VersionsNow(Versions):
    """The same with the mapping mode and the served models, which change without a release."""

    mode: str  # hybrid, model_first or rules_only
    served: Served


class AnswerVersions(TypedDict):
    """The same, restricted to what gave one answer: `version_info` of /map."""

    release: int
    taxonomy: str
    detector_map: str | None  # version of the detector's file; None for a detector without one
    frameworks: tuple[str, ...]  # framework@edition whose controls the answer names
    model: str | None
    calibrator: str | None


def versions_of(documents: KnowledgeDocuments, engine: VersionInfo) -> Versions:
    """The snapshot of a release, with the model and calibrator that the engine maps with."""
    return Versions(
        release=documents.serial,
        taxonomy=documents.taxonomy["edition"],
        frameworks={edition_name(d): d["version"] for d in _sorted(documents.frameworks)},
        crosswalks={edition_name(d): d["version"] for d in _sorted(documents.crosswalks)},
        detectors={
            d["detector"]: d["version"]
            for d in sorted(documents.detectors, key=lambda d: str(d["detector"]))
        },
        model=engine.model,
        calibrator=engine.calibrator,
    )


def _sorted(files: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(files, key=edition_name)

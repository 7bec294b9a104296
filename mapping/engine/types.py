"""What goes into the engine and what comes out of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from mapping.resolver.types import AnsweredBy

Decision: TypeAlias = Literal["mapped", "safe", "fallback", "review", "error"]
Severity: TypeAlias = Literal["none", "info", "low", "medium", "high", "critical"]
Method: TypeAlias = Literal[
    "rule", "decision", "model", "retrieval", "parent", "none", "error", "safe"
]
HashText: TypeAlias = Callable[[str], str]

# In rising order: a severity's rank is its index.
SEVERITIES: Final[tuple[Severity, ...]] = ("none", "info", "low", "medium", "high", "critical")
SEVERITY_RANK: Final[Mapping[str, int]] = {name: rank for rank, name in enumerate(SEVERITIES)}

SAFE: Final = "OTHER.Safe"
UNKNOWN: Final = "OTHER.Unknown"
NEEDS_REVIEW: Final = "OTHER.NeedsReview"
FLAGGED: Final = "OTHER.Flagged"
MODEL_ERROR: Final = "OTHER.ModelError"
# Labels that every taxonomy edition must have, because the engine itself answers with them.
OUTCOMES: Final = (SAFE, UNKNOWN, NEEDS_REVIEW, FLAGGED, MODEL_ERROR)

# Distinct vendor labels that one output may yield; more are counted in the notes only.
MAX_FINDINGS: Final = 1_000


class KnowledgeError(ValueError):
    """The knowledge files contradict themselves. The message names file, field and remedy."""


class DetectorOutput(NamedTuple):
    """The raw output of one detector, just as the tool emitted it. Never stored, never logged."""

    detector: str
    output: Any  # str, list or dict; anything else is answered with OTHER.ModelError
    detector_version: str | None = None
    vendor: str | None = None
    # The vendor's own words for labels that Pillars may not know.
    label_descriptions: Mapping[str, str] | None = None


class Finding(NamedTuple):
    """One vendor label read from the output, and the canonical label it was mapped to."""

    source_label: str | None  # as the vocabulary spells it; None if it may not be recorded
    source_digest: str | None  # keyed hash of a string that may not be recorded
    canonical: str
    confidence: float  # that the mapping is right, 0..1
    method: Method
    score: float | None  # the detector's own score, scaled to 0..1; None if it gave none
    severity: Severity
    # Times that the label was found. Hides tuple.count, which nobody needs here.
    count: int  # type: ignore[assignment]
    # What a model thought of, the likeliest first, with probabilities; empty if none was asked.
    candidates: tuple[tuple[str, float], ...] = ()
    by: AnsweredBy | None = (
        None  # which models answered, also where only the branch is sure: not kept
    )


class MappingResult(NamedTuple):
    """The whole answer for one output. Holds metadata only, whatever the output held."""

    decision: Decision
    severity: Severity  # the highest of the findings
    confidence: float
    taxonomy: tuple[str, ...]  # at least one, unique, in order of first appearance
    scores: dict[str, float]  # canonical label -> 0..1
    findings: tuple[Finding, ...]
    controls: tuple[str, ...]  # `framework@edition:code`, sorted
    notes: str | None  # constant words and numbers only, at most 500 characters
    output_shape: dict[str, str | int]
    detector: str
    vendor: str | None
    detector_map: str | None  # version of the detector file that was used


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """Which editions of the knowledge stand behind a result."""

    taxonomy: str
    detector_maps: Mapping[str, str] = field(default_factory=dict)
    frameworks: tuple[str, ...] = ()
    crosswalks: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    calibrator: str | None = None

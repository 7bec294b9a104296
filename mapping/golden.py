"""Golden cases: raw outputs with the answer that a person decided on, checked by rules alone."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapping.engine import DetectorOutput, Engine


class GoldenFileError(ValueError):
    """A file of cases cannot be used. The message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One raw output of a detector, and what it must be answered with."""

    id: str
    place: str  # file:line
    detector: str
    detector_version: str | None
    output: Any
    decision: str
    labels: tuple[str, ...]  # sorted
    severity: str | None  # None: not decided


@dataclass(frozen=True, slots=True)
class GoldenMiss:
    """A case that was answered otherwise."""

    case: GoldenCase
    reason: str


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How the cases of some detectors were answered."""

    cases: int
    by_detector: dict[str, tuple[int, int]]  # detector -> right, all
    misses: tuple[GoldenMiss, ...]
    labels_reached: tuple[str, ...]  # canonical labels that right cases expect, sorted
    labels_missing: tuple[str, ...]  # labels of the taxonomy that no right case expects

    @property
    def share(self) -> float:
        """Of cases that are right, 0 to 1; 1 if there are none."""
        return 1 - len(self.misses) / self.cases if self.cases else 1.0

    @property
    def label_share(self) -> float:
        """Of the taxonomy's labels that right cases expect, 0 to 1."""
        known = len(self.labels_reached) + len(self.labels_missing)
        return len(self.labels_reached) / known if known else 1.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON output. Holds no raw output."""
        return {
            "cases": self.cases,
            "right": self.cases - len(self.misses),
            "share": self.share,
            "label_share": self.label_share,
            "labels_missing": self.labels_missing,
            "detectors": {
                name: {"right": right, "cases": cases}
                for name, (right, cases) in self.by_detector.items()
            },
            "misses": [
                {"id": miss.case.id, "place": miss.case.place, "reason": miss.reason}
                for miss in self.misses
            ],
        }


def read_cases(path: Path) -> Iterator[GoldenCase]:
    """The cases of golden/DETECTOR.jsonl. Raises GoldenFileError."""
    name = f"golden/{path.name}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{name}: cannot be read ({type(error).__name__}). Check rights and UTF-8."
        raise GoldenFileError(problem) from None
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if line.strip():
            case = _case(line, path.stem, f"{name}:{number}")
            if case.id in seen:
                raise GoldenFileError(f"{case.place}: the id {case.id} stands twice. Rename one.")
            seen.add(case.id)
            yield case


def _case(line: str, detector: str, place: str) -> GoldenCase:
    try:
        entry = json.loads(line)
        expect = entry["expect"]
        return GoldenCase(
            id=str(entry["id"]),
            place=place,
            detector=detector,
            detector_version=entry.get("detector_version"),
            output=entry["output"],
            decision=str(expect["decision"]),
            labels=tuple(sorted(map(str, expect["labels"]))),
            severity=expect.get("severity"),
        )
    except json.JSONDecodeError as error:
        problem = f"{place}: is not JSON ({error.msg}). Write one object a line."
        raise GoldenFileError(problem) from None
    except (KeyError, TypeError, AttributeError) as error:
        problem = (
            f"{place}: {type(error).__name__} {error}. A case is "
            '{"id", "output", "expect": {"decision", "labels"}}.'
        )
        raise GoldenFileError(problem) from None


def check_cases(engine: Engine, cases: Iterable[GoldenCase]) -> GoldenReport:
    """Answer every case by the engine's rules, and compare."""
    counts: dict[str, tuple[int, int]] = {}
    misses: list[GoldenMiss] = []
    reached: set[str] = set()
    for case in cases:
        reason = _difference(engine, case)
        right, total = counts.get(case.detector, (0, 0))
        counts[case.detector] = right + (reason is None), total + 1
        if reason is None:
            reached.update(case.labels)
        else:
            misses.append(GoldenMiss(case, reason))
    known = set(engine.knowledge.severities)
    return GoldenReport(
        cases=sum(total for _, total in counts.values()),
        by_detector=counts,
        misses=tuple(misses),
        labels_reached=tuple(sorted(reached & known)),
        labels_missing=tuple(sorted(known - reached)),
    )


def _difference(engine: Engine, case: GoldenCase) -> str | None:
    """In words, without quoting the output; None if the answer is as expected."""
    output = DetectorOutput(case.detector, case.output, case.detector_version)
    # Cases hold made-up data; what may not be recorded needs no keyed hash here.
    result = engine.map(output, hash_text=lambda _text: "0" * 32)
    if result.detector_map is None:
        return f"there is no detector file for {case.detector}"
    labels = tuple(sorted(result.taxonomy))
    if result.decision != case.decision:
        return f"decision {result.decision} ({', '.join(labels)}), expected {case.decision}"
    if labels != case.labels:
        return f"labels {', '.join(labels)}, expected {', '.join(case.labels)}"
    if case.severity is not None and result.severity != case.severity:
        return f"severity {result.severity}, expected {case.severity}"
    return None

"""The shipped knowledge, loaded once, and helpers that every test of the engine uses."""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mapping.engine import DetectorOutput, Engine, Knowledge, MappingResult
from mapping.engine.types import SEVERITIES

FILES = Path(__file__).resolve().parents[2] / "pillars-detectors"
NAMES = tuple(sorted(path.stem for path in (FILES / "detectors").glob("*.yaml")))


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def document(folder: str, name: str) -> Any:
    """One parsed YAML file, fresh at every call so that a test may change it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(_text(FILES / folder / f"{name}.yaml"), loader)


def documents(folder: str) -> list[Any]:
    """All parsed YAML files of a folder."""
    return [document(folder, path.stem) for path in sorted((FILES / folder).glob("*.yaml"))]


@cache
def knowledge() -> Knowledge:
    """Everything that is shipped."""
    return Knowledge.from_documents(
        document("taxonomy", "2026.11"),
        documents("detectors"),
        documents("frameworks"),
        documents("crosswalks"),
    )


@cache
def engine() -> Engine:
    """An engine on all that is shipped."""
    return Engine(knowledge())


def hash_text(text: str) -> str:
    """Stands for the keyed hash of the service."""
    return hashlib.blake2b(text.encode("utf-8"), key=b"tests", digest_size=16).hexdigest()


def run(detector: str, output: Any, **more: Any) -> MappingResult:
    """Maps one output and checks that the answer is well-formed.

    Also that no exception happened inside: the engine's safety net is for faults nobody knows.
    """
    result = engine().map(DetectorOutput(detector, output, **more), hash_text)
    check(result)
    assert result.output_shape["type"] != "unreadable"
    return result


def labels(result: MappingResult) -> list[tuple[str | None, str]]:
    """The findings as pairs of the vendor's and the canonical label."""
    return [(finding.source_label, finding.canonical) for finding in result.findings]


def check(result: MappingResult) -> None:
    """What holds for every answer, whatever the output was."""
    known = knowledge().severities
    assert result.decision in {"mapped", "safe", "fallback", "review", "error"}
    assert result.taxonomy
    assert len(set(result.taxonomy)) == len(result.taxonomy)
    assert set(result.taxonomy) <= set(known)
    assert set(result.scores) == set(result.taxonomy)
    assert all(0.0 <= score <= 1.0 for score in result.scores.values())
    assert 0.0 <= result.confidence <= 1.0
    assert result.notes is None or len(result.notes) <= 500
    check_controls(result.controls)
    for finding in result.findings:
        assert finding.canonical in result.taxonomy
        assert finding.count >= 1
        assert finding.score is None or 0.0 <= finding.score <= 1.0
        assert finding.source_label is None or finding.source_digest is None
    ranks = [SEVERITIES.index(finding.severity) for finding in result.findings]
    if ranks:
        assert SEVERITIES.index(result.severity) == max(ranks)
    if result.decision == "safe":
        assert result.taxonomy == ("OTHER.Safe",)
        assert (result.findings, result.severity, result.controls) == ((), "none", ())
    json.dumps(result._replace(controls=()), allow_nan=False).encode("utf-8")


@cache
def check_controls(controls: tuple[str, ...]) -> None:
    """A part of `check`, once for all answers with the same: most of an answer is its controls."""
    assert list(controls) == sorted(set(controls))
    json.dumps(controls, allow_nan=False).encode("utf-8")


def golden(name: str) -> list[dict[str, Any]]:
    """The hand-decided cases of a detector."""
    return [json.loads(line) for line in _text(FILES / "golden" / f"{name}.jsonl").splitlines()]


def examples() -> list[dict[str, Any]]:
    """The raw outputs that `make up` posts."""
    return [json.loads(line) for line in _text(FILES / "examples/raw-outputs.jsonl").splitlines()]


def many_outputs() -> Iterator[tuple[str, Any]]:
    """Golden and example outputs with their detectors: of the golden ones, every fourth.

    Each is changed in hundreds of ways, so more of them would take minutes.
    """
    for name in NAMES:
        for case in golden(name)[::4]:
            yield name, case["output"]
    for example in examples():
        yield example["detector"], example["output"]

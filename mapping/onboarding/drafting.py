"""From labels to a detector file and its first golden cases, with proposals for each label."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mapping.engine.vocabulary import fold
from mapping.onboarding.lists import OnboardingError, VendorLabel
from mapping.onboarding.proposing import Candidate, Proposals
from mapping.resolver.types import LabelQuestion

# Said of a label that a person must still decide; the candidates stand in a comment beside it.
UNDECIDED = "not decided yet"


@dataclass(frozen=True, slots=True)
class Row:
    """A vendor's label and what is proposed for it. `chosen`: canonical label, None: undecided."""

    vendor: VendorLabel
    proposals: tuple[Candidate, ...]
    chosen: str | None
    confidence: float | None = None  # of the first proposal; None if it is not by retrieval


def propose_rows(
    proposals: Proposals,
    labels: Iterable[VendorLabel],
    *,
    detector: str,
    category: str,
    accept_lexical: bool = False,
) -> list[Row]:
    """What each label could mean. Chosen: names, aliases, and what retrieval is sure of.

    `accept_lexical` chooses the first candidate for the rest, too, if it is a label.
    """
    labels = list(labels)
    asked = [LabelQuestion(detector, one.label, one.description, category) for one in labels]
    rows = []
    for vendor, (candidates, chosen, confidence) in zip(
        labels, proposals.propose(asked), strict=True
    ):
        if chosen is None and accept_lexical and candidates and candidates[0].is_label:
            chosen = candidates[0].canonical
        rows.append(Row(vendor, candidates, chosen, confidence))
    return rows


def detector_file(head: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """The YAML of a detector file. What is undecided has its candidates in a comment."""
    lines = [_line(key, value) for key, value in head.items()]
    lines += ["# Bare labels need no recipe; add one for each shape of the detector's output."]
    lines += ["recipes: []", "labels:"]
    for row in rows:
        if row.chosen is not None:
            meaning: dict[str, str] = {"canonical": row.chosen}
        else:
            meaning = {"unmapped": UNDECIDED}
            candidates = ", ".join(f"{p.canonical} ({p.share:.2f})" for p in row.proposals)
            lines.append(f"  # Perhaps: {candidates or 'nothing near; see the taxonomy'}")
        if row.vendor.description:
            meaning["meaning"] = row.vendor.description[:200]
        lines.append(f"  {_line(row.vendor.label, meaning)}")
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    """`key: value` on one line, quoted where YAML needs it."""
    text = yaml.safe_dump(
        {key: value}, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False
    )
    return text.strip()[1:-1]


def first_cases(detector: str, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Golden cases to start from: each chosen label alone, two together, and what is unknown."""
    chosen = [(row.vendor.label, row.chosen) for row in rows if row.chosen is not None]
    cases = [
        _case(f"{detector}/{number:03}-{fold(label)[:60]}", [label], "mapped", [canonical])
        for number, (label, canonical) in enumerate(chosen, 1)
    ]
    if len(chosen) > 1:
        (one, first), (two, second) = chosen[0], chosen[-1]
        cases.append(_case(f"{detector}/two-labels", [one, two], "mapped", {first, second}))
    unknown = ["label-of-a-later-version"]
    cases.append(_case(f"{detector}/unknown", unknown, "fallback", ["OTHER.Unknown"]))
    return cases


def _case(name: str, output: Any, decision: str, labels: Iterable[str]) -> dict[str, Any]:
    return {
        "id": name,
        "output": output,
        "expect": {"decision": decision, "labels": sorted(labels)},
    }


def write_detector(directory: Path, name: str, file: str, cases: Iterable[Any]) -> list[Path]:
    """Write detectors/NAME.yaml and golden/NAME.jsonl. Nothing is overwritten: OnboardingError."""
    paths = [directory / "detectors" / f"{name}.yaml", directory / "golden" / f"{name}.jsonl"]
    existing = next((path for path in paths if path.exists()), None)
    if existing is not None:
        raise OnboardingError(f"{existing} exists already. Choose another name, or edit that file.")
    lines = (json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
    try:
        for path, text in zip(paths, (file, "".join(lines)), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        raise OnboardingError(f"{error.filename} cannot be written: {error.strerror}.") from None
    return paths

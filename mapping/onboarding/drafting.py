"""A new detector: from a vendor's list of labels to a detector file and its first golden cases."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mapping.engine.propose import Proposal, Proposer
from mapping.engine.vocabulary import fold

MAX_LABELS = 5_000
_NAMES = ("label", "name", "id", "code", "category", "entity", "type")
_DESCRIPTIONS = ("description", "meaning", "definition", "help", "text")
# Said of a label that a person must still decide; the candidates stand in a comment beside it.
UNDECIDED = "not decided yet"


class OnboardingError(ValueError):
    """What was given cannot become a detector file. The message says what to do."""


@dataclass(frozen=True, slots=True)
class VendorLabel:
    """A label as its vendor writes it."""

    label: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A vendor's label and what is proposed for it. `chosen`: canonical label, None: undecided."""

    vendor: VendorLabel
    proposals: tuple[Proposal, ...]
    chosen: str | None


def read_label_list(text: str) -> list[VendorLabel]:
    """Labels from JSON, YAML, CSV with a header, or one a line. Raises OnboardingError.

    JSON and YAML: a list of names, a list of objects with a name and perhaps a description, or an
    object from name to description.
    """
    found = _structured(text)
    if found is None:
        found = _table(text) or [VendorLabel(line) for line in text.splitlines()]
    labels: dict[str, VendorLabel] = {}
    for one in found:
        label = VendorLabel(one.label.strip(), " ".join(one.description.split()))
        if label.label:
            labels.setdefault(label.label, label)
    if not labels:
        raise OnboardingError("No labels were found. Give names as CSV, JSON, YAML or one a line.")
    if len(labels) > MAX_LABELS:
        raise OnboardingError(f"{len(labels)} labels are more than {MAX_LABELS}. Split the list.")
    too_long = next((label for label in labels if len(label) > 200), None)
    if too_long is not None:
        raise OnboardingError(
            f"{too_long[:60]!r}… is over 200 characters long: this is no list of labels."
        )
    return list(labels.values())


def _structured(text: str) -> list[VendorLabel] | None:
    """From JSON or YAML; None if it is neither, or no list or object."""
    try:
        value = json.loads(text) if text.lstrip()[:1] in ("{", "[") else _plain(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return None
    if isinstance(value, Mapping):
        inner = [item for item in value.values() if isinstance(item, list)]
        if len(inner) == 1:
            value = inner[0]
        else:
            return [VendorLabel(str(k), v if isinstance(v, str) else "") for k, v in value.items()]
    if not isinstance(value, list):
        return None
    return [label for item in value if (label := _item(item)) is not None]


def _plain(text: str) -> Any:
    """YAML with every scalar as text: a label `no` or `1.10` is neither a boolean nor a number."""
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it builds text, lists and objects alone


def _item(item: Any) -> VendorLabel | None:
    if isinstance(item, str | int):
        return VendorLabel(str(item))
    if not isinstance(item, Mapping):
        return None
    folded = {str(key).casefold(): value for key, value in item.items()}
    name = next((folded[key] for key in _NAMES if folded.get(key) not in (None, "")), None)
    description = next((str(folded[key]) for key in _DESCRIPTIONS if folded.get(key)), "")
    return None if name is None else VendorLabel(str(name), description)


def _table(text: str) -> list[VendorLabel]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = {name.strip().casefold() for name in reader.fieldnames or ()}
    if not names & set(_NAMES):
        return []
    rows = ({(key or "").strip(): value for key, value in row.items()} for row in reader)
    return [label for row in rows if (label := _item(row)) is not None]


def propose_rows(
    taxonomy: Mapping[str, Any], labels: Iterable[VendorLabel], *, accept_lexical: bool = False
) -> list[Row]:
    """What each label could mean. Names and aliases are chosen; likeness alone is left open."""
    proposer = Proposer(taxonomy)
    rows = []
    for vendor in labels:
        proposals = tuple(proposer.propose(vendor.label, vendor.description))
        sure = proposals and (accept_lexical or proposals[0].reason != "lexical")
        rows.append(Row(vendor, proposals, proposals[0].canonical if sure else None))
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
            candidates = ", ".join(f"{p.canonical} ({p.similarity:.2f})" for p in row.proposals)
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

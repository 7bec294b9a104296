"""How far two annotators agree on what detectors' labels mean.

The first annotation is the detector files; the second (`annotations/DETECTOR.yaml`) was made
without them. Where they differed, a third judgement was made between the two, and the file says
what was ruled. Agreement is measured on the two as they were before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxonomy.documents import Document, read_document
from taxonomy.errors import KnowledgeFileError
from taxonomy.validation import canonical_labels, misfits

FOLDER = "annotations"
Meaning = tuple[str, ...]  # sorted canonical labels, or one of not_a_finding and unmapped


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was said of one label. `ruling` and `why` where the two annotators differed."""

    detector: str
    category: str
    label: str
    first: Meaning
    second: Meaning
    ruling: Meaning | None = None
    why: str = ""

    @property
    def agreed(self) -> bool:
        """Whether both annotators said exactly the same."""
        return self.first == self.second


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement over some labels. `kappa` is None where chance alone would agree on all."""

    labels: int
    agreed: int
    kappa: float | None

    @property
    def share(self) -> float:
        """Of labels on which both said the same, 0 to 1."""
        return self.agreed / self.labels if self.labels else 1.0


def read_judgements(directory: Path, detectors: Iterable[Document]) -> list[Judgement]:
    """Every label of the detectors with both annotations. Raises KnowledgeFileError.

    Refused: a label without a second annotation, and a difference that was not adjudicated or
    whose ruling is not what the file says.
    """
    found: list[Judgement] = []
    problems: list[str] = []
    for detector in detectors:
        path = directory / FOLDER / f"{detector.data['detector']}.yaml"
        if not path.exists():
            problems.append(f"{FOLDER}/{path.name}: is missing. Annotate the detector's labels.")
            continue
        annotation = read_document("annotation", path)
        wrong = list(misfits(directory, "annotation", [annotation]))
        problems += wrong or _differences(detector, annotation)
        if not wrong:
            found += _judgements(detector, annotation)
    if problems:
        raise KnowledgeFileError(problems)
    return found


def _judgements(detector: Document, annotation: Document) -> Iterator[Judgement]:
    ruled = annotation.data.get("adjudicated", {})
    for label, entry in detector.data["labels"].items():
        second = annotation.data["labels"].get(label)
        if second is None:
            continue
        ruling = ruled.get(label)
        yield Judgement(
            detector=detector.data["detector"],
            category=detector.data["category"],
            label=label,
            first=_meaning(ruling["first"]) if ruling else of_entry(entry),
            second=_meaning(second),
            ruling=_meaning(ruling["ruling"]) if ruling else None,
            why=ruling["why"] if ruling else "",
        )


def _differences(detector: Document, annotation: Document) -> list[str]:
    labels = annotation.data["labels"]
    ruled = annotation.data.get("adjudicated", {})
    problems = []
    for label, entry in detector.data["labels"].items():
        says = of_entry(entry)
        if label not in labels:
            problems.append(
                f"{annotation.place(('labels',))}: {label!r} of {detector.name} has no second "
                "annotation. Decide it from the taxonomy's meanings alone."
            )
        elif label in ruled and _meaning(ruled[label]["ruling"]) != says:
            problems.append(
                f"{annotation.place(('adjudicated', label))}: the ruling is not what "
                f"{detector.name} says. Put it there, or rule again."
            )
        elif label not in ruled and _meaning(labels[label]) != says:
            problems.append(
                f"{annotation.place(('labels', label))}: differs from {detector.name}, and nobody "
                "has ruled between them. Add it to adjudicated."
            )
    gone = [label for label in labels if label not in detector.data["labels"]]
    return problems + [
        f"{annotation.place(('labels', label))}: {label!r} is not in {detector.name}. Remove it."
        for label in gone
    ]


def of_entry(entry: dict[str, Any]) -> Meaning:
    """What a detector file's entry says."""
    for outcome in ("not_a_finding", "unmapped"):
        if outcome in entry:
            return (outcome,)
    return tuple(sorted(canonical_labels(entry)))


def _meaning(value: str | list[str]) -> Meaning:
    return (value,) if isinstance(value, str) else tuple(sorted(value))


def agreement(judgements: Iterable[Judgement]) -> Agreement:
    """Cohen's kappa (Cohen 1960) with the whole set of labels as the category.

    Two annotations agree only if they name exactly the same labels: of two labels, one in common
    counts as a difference.
    """
    pairs = [(one.first, one.second) for one in judgements]
    total = len(pairs)
    if not total:
        return Agreement(0, 0, None)
    agreed = sum(first == second for first, second in pairs)
    firsts, seconds = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(count * seconds[meaning] for meaning, count in firsts.items()) / total**2
    kappa = None if chance == 1 else (agreed / total - chance) / (1 - chance)
    return Agreement(total, agreed, kappa)


def by_category(judgements: Iterable[Judgement]) -> dict[str, Agreement]:
    """Agreement by the detectors' category, and of `all`."""
    judgements = list(judgements)
    categories = sorted({one.category for one in judgements})
    found = {
        category: agreement(one for one in judgements if one.category == category)
        for category in categories
    }
    return {**found, "all": agreement(judgements)}

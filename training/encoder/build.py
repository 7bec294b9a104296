"""The encoder's data set: every label of the detector files, and the texts of the answers."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mapping.engine.types import SAFE, UNKNOWN
from mapping.evaluation.cases import UNMAPPED, leave_one_out
from mapping.resolver.texts import candidates
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING
from training.encoder.data import Dataset, Example

_SAME: Final = {SAFE: NOT_A_FINDING, UNKNOWN: NONE_OF_THESE, UNMAPPED: NONE_OF_THESE}
_TAXONOMY: Final = "taxonomy"  # the detector of examples that are the taxonomy's own aliases


def build(
    taxonomy: Mapping[str, Any],
    detectors: Iterable[Mapping[str, Any]],
    decisions: Iterable[Example] = (),
) -> Dataset:
    """From parsed files. Spellings of one label in one file are one example (see leave_one_out).

    `decisions`: approved ones, behind the labels of the files (training.datasets.sources).
    """
    files = {file["detector"]: file for file in detectors}
    examples = []
    for case in leave_one_out(files.values()):
        file, label = files[case.question.detector], str(case.question.output)
        entry = file["labels"][label]
        examples.append(
            Example(
                detector=case.question.detector,
                vendor=str(file.get("vendor") or "").casefold(),
                category=case.question.category or "",
                label=label,
                aliases=tuple(entry.get("aliases", ())),
                description=case.question.description,
                answers=answers_of(case.expected),
            )
        )
    return Dataset([*examples, *decisions], _aliases(taxonomy), candidates(taxonomy))


def _aliases(taxonomy: Mapping[str, Any]) -> list[Example]:
    """The taxonomy's names and aliases as examples."""
    return [
        Example(_TAXONOMY, "", "", str(text), (), "", (name,))
        for name, entry in taxonomy["labels"].items()
        if name not in (SAFE, UNKNOWN)
        for text in (name.rpartition(".")[2], *entry.get("aliases", ()))
        if text != "Other"
    ]


def answers_of(expected: Iterable[str]) -> tuple[str, ...]:
    """Expected labels of a case as classes: one name for each of two that mean the same."""
    return tuple(dict.fromkeys(_SAME.get(label, label) for label in expected))

"""Cases with a known answer: from a file, or every label of the detector files."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from mapping.engine.propose import spelling
from mapping.engine.types import SAFE, UNKNOWN
from mapping.evaluation import strata
from mapping.resolver import types
from taxonomy.agreement import of_entry

NOT_A_FINDING: Final = types.NOT_A_FINDING
UNMAPPED: Final = strata.UNMAPPED
# Both of a pair lead to the same answer of /map, so one is accepted where the other is expected.
SAME_OUTCOME: Final = {
    NOT_A_FINDING: SAFE,
    SAFE: NOT_A_FINDING,
    UNMAPPED: UNKNOWN,
    UNKNOWN: UNMAPPED,
}
_FORM: Final = (
    'A case is {"id", "detector", "detector_version"?, "category"?, "output", "description"?, '
    '"expected": [labels], "accept": [labels], "multi": true or false}.'
)
_MEMBERS: Final = frozenset(
    (
        "id", "detector", "detector_version", "category", "output", "description",
        "expected", "accept", "multi",
    )
)  # fmt: skip


class CaseFileError(ValueError):
    """A file of cases cannot be used. The message names every file, line and remedy."""


class Question(NamedTuple):
    """What a predictor sees of a case: all but the answer."""

    id: str
    detector: str
    detector_version: str | None
    category: str | None
    output: Any  # a label, or the raw output
    description: str  # the vendor's words for the label; empty if there are none


@dataclass(frozen=True, slots=True)
class Case:
    """A question and its answer.

    `expected`: all labels that a full answer names. `accept`: labels that are right as well.
    `multi`: whether several labels are expected.
    """

    question: Question
    place: str  # file:line, or the detector file and label
    expected: tuple[str, ...]  # sorted
    accept: tuple[str, ...] = ()

    @property
    def multi(self) -> bool:
        """Whether a full answer names several labels."""
        return len(self.expected) > 1

    @property
    def right(self) -> frozenset[str]:
        """Every label that counts as right at first place."""
        named = {*self.expected, *self.accept}
        return frozenset(named | {SAME_OUTCOME[one] for one in named if one in SAME_OUTCOME})


def leave_one_out(detectors: Iterable[Mapping[str, Any]]) -> list[Case]:
    """Every label of the detector files as a case, its meaning as the description.

    Spellings of one label within one file (`hate/threatening`, `hate_threatening`) with the same
    answer are one case, so that a vendor's spelling variants do not weigh double.
    """
    return [case for file in detectors for case in _of_file(file)]


def _of_file(file: Mapping[str, Any]) -> Iterator[Case]:
    name = file["detector"]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    # Entries with a meaning first: of two spellings, the described one stands for both.
    entries = sorted(file["labels"].items(), key=lambda pair: "meaning" not in pair[1])
    kept: set[str] = set()
    for label, entry in entries:
        key = (spelling(label) or label, of_entry(entry))
        if key not in seen:
            seen.add(key)
            kept.add(label)
    for label, entry in file["labels"].items():
        if label in kept:
            question = Question(
                id=f"{name}/{label}",
                detector=name,
                detector_version=None,
                category=file.get("category"),
                output=label,
                description=entry.get("meaning", ""),
            )
            yield Case(question, f"detectors/{name}.yaml: labels.{label}", of_entry(entry))


def read_cases(path: Path, labels: Collection[str]) -> list[Case]:
    """The cases of a file with one JSON object a line.

    `labels`: those of the taxonomy. Raises CaseFileError, which names every line at fault and
    quotes no output.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{path}: cannot be read ({type(error).__name__}). Check path, rights and UTF-8."
        raise CaseFileError(problem) from None
    allowed = {*labels, NOT_A_FINDING, UNMAPPED}
    cases: list[Case] = []
    problems: list[str] = []
    places: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{path.name}:{number}"
            try:
                case = _case(line, place, allowed)
                first = places.setdefault(case.question.id, place)
                if first != place:
                    _refuse(place, f"the id {case.question.id!r} stands on {first} too. Rename one")
                cases.append(case)
            except CaseFileError as error:
                problems.append(str(error))
    if problems:
        raise CaseFileError("\n".join(problems))
    if not cases:
        raise CaseFileError(f"{path.name}: holds no case. {_FORM}")
    return cases


def _case(line: str, place: str, allowed: Collection[str]) -> Case:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        _refuse(place, f"is not JSON ({error.msg}). Write one object a line")
    if not isinstance(entry, dict):
        _refuse(place, f"is no object. {_FORM}")
    unknown = sorted(entry.keys() - _MEMBERS)
    if unknown:
        _refuse(place, f"unknown member {unknown[0]!r}. {_FORM}")
    output = entry.get("output")
    if not isinstance(output, str | list | dict) or not output:
        _refuse(place, "`output` is needed: a label, or the raw output as text, list or object")
    expected = _labels(entry, "expected", place, allowed)
    accept = _labels(entry, "accept", place, allowed)
    if not expected:
        _refuse(place, "`expected` names no label. Name one, not_a_finding or unmapped")
    if bool(entry.get("multi", len(expected) > 1)) != (len(expected) > 1):
        _refuse(place, f"`multi` contradicts the {len(expected)} expected label(s). Correct one")
    question = Question(
        id=_text(entry, "id", place),
        detector=_text(entry, "detector", place),
        detector_version=_text(entry, "detector_version", place, needed=False) or None,
        category=_text(entry, "category", place, needed=False) or None,
        output=output,
        description=_text(entry, "description", place, needed=False),
    )
    return Case(question, place, tuple(sorted(set(expected))), tuple(sorted(set(accept))))


def _text(entry: dict[str, Any], member: str, place: str, *, needed: bool = True) -> str:
    value = entry.get(member)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        _refuse(place, f"`{member}` must be text. Write it in quotation marks")
    return value


def _labels(entry: dict[str, Any], member: str, place: str, allowed: Collection[str]) -> list[str]:
    value = entry.get(member, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        _refuse(place, f"`{member}` must be a list of labels")
    for one in value:
        if one not in allowed:
            _refuse(place, f"`{member}`: {one!r} is not in the taxonomy. Use one of its labels")
    return value


def _refuse(place: str, problem: str) -> NoReturn:
    raise CaseFileError(f"{place}: {problem}{'' if problem.endswith('.') else '.'}")

"""Where in a raw output labels may stand, when nothing is known of the detector that emitted it.

Four shapes: records that name a label in one of the usual members, objects from label to verdict,
objects from label to details with a verdict, lists of names. Texts of outputs are looked at,
never kept: what is no plain name is only counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from mapping.engine.bare import LABEL_MEMBERS, is_failure, looks_like_label
from mapping.engine.labels import recordable_label
from mapping.engine.values import number
from mapping.engine.vocabulary import fold
from mapping.onboarding.lists import may_be_a_label

Shape: TypeAlias = Literal["records", "verdicts", "details", "names"]
Path: TypeAlias = tuple[str, ...]  # members as paths write them, `[]` and `*`

THRESHOLD: Final = 0.5  # of a score, as in a detector file that says nothing else
_MAX_DEPTH: Final = 12
# Members that name a label for sure; the other LABEL_MEMBERS count where nothing lies deeper.
_SURE: Final = ("entity_type", "entity_group", "label", "category")
# Members that stand beside labels and are none.
_NO_LABELS: Final = frozenset(
    (
        "blocked", "confidence", "detected", "error", "filtered", "flagged", "is_valid", "ok",
        "overall", "passed", "probability", "result", "risk_score", "safe", "score", "success",
        "threshold", "total", "valid", "value", "verdict",
    )
)  # fmt: skip
# Members of a label's details that say whether it was found.
_VERDICTS: Final = ("detected", "filtered", "flagged", "matched", "blocked", "score")
_NAMES_OF_LISTS: Final = (
    "labels", "categories", "types", "violations", "flags", "topics", "rules", "findings",
    "entities", "reasons", "policies", "classes", "hits", "detections",
)  # fmt: skip


class Place(NamedTuple):
    """One place: `path` leads to each record, object or name.

    `member` is where a record's label stands, or the verdict in a label's details.
    """

    shape: Shape
    path: Path
    member: str = ""


@dataclass(slots=True)
class Found:
    """What stands in a place, over all outputs of a sample."""

    labels: dict[str, None] = field(default_factory=dict)
    scored: bool = True  # every label has a score from 0 to 1


@dataclass(slots=True)
class Survey:
    """Everything found in a sample. `positive`: for each output, the labels that it reports."""

    places: dict[Place, Found] = field(default_factory=dict)
    positive: list[set[str]] = field(default_factory=list)
    refused: int = 0  # texts where labels stand that are no plain names
    failures: int = 0  # objects that state an error
    ignored: int = 0  # other values

    def labels(self) -> list[str]:
        """All labels in order of appearance."""
        return list(
            dict.fromkeys(label for found in self.places.values() for label in found.labels)
        )

    def name(self, place: Place, text: str, score: float | None, *, positive: bool) -> None:
        """Take note of a label, if it is one."""
        found = self.places.setdefault(place, Found())
        found.scored = found.scored and score is not None
        if not may_be_a_label(text):
            self.refused += 1
            return
        found.labels[text] = None
        if positive:
            self.positive[-1].add(text)

    def look(self, value: Any) -> None:
        """Survey one output."""
        self.positive.append(set())
        self._visit(value, (), 0)

    def _visit(self, value: Any, path: Path, depth: int) -> bool:
        """Whether labels stand in the value."""
        if depth > _MAX_DEPTH:
            self.ignored += 1
            return False
        if isinstance(value, dict):
            return self._object(value, path, depth)
        if isinstance(value, list | tuple):
            return self._list(list(value), path, depth)
        self.ignored += 1
        return False

    def _object(self, box: dict[Any, Any], path: Path, depth: int) -> bool:
        if is_failure(box):
            self.failures += 1
            return False
        member = _member(box, _SURE)
        if member is not None:
            return self._record(box, member, path)
        if _holds_verdicts(box):
            return self._verdicts(box, path)
        verdict = _common_verdict(box)
        if verdict is not None:
            return self._details(box, verdict, path)
        found = False
        for key, inner in box.items():
            if isinstance(inner, dict | list | tuple):
                found = self._visit(inner, (*path, step(key)), depth + 1) or found
            else:
                self.ignored += 1
        member = None if found else _member(box, LABEL_MEMBERS)
        return found if member is None else self._record(box, member, path)

    def _record(self, box: dict[Any, Any], member: str, path: Path) -> bool:
        score = number(box.get("score"))
        score = score if score is not None and 0 <= score <= 1 else None
        positive = score is None or score >= THRESHOLD
        self.name(Place("records", path, member), box[member], score, positive=positive)
        return True

    def _verdicts(self, box: dict[Any, Any], path: Path) -> bool:
        for key, value in box.items():
            if fold(key) in _NO_LABELS:
                self.ignored += 1
            else:
                self._judge(Place("verdicts", path), key, value)
        return True

    def _details(self, box: dict[Any, Any], member: str, path: Path) -> bool:
        for key, details in box.items():
            self._judge(Place("details", path, member), key, details[member])
        return True

    def _judge(self, place: Place, label: str, verdict: bool | float) -> None:
        found = isinstance(verdict, bool)
        positive = verdict if found else verdict >= THRESHOLD
        self.name(place, label, None if found else float(verdict), positive=bool(positive))

    def _list(self, items: list[Any], path: Path, depth: int) -> bool:
        if _holds_names(items, path):
            for text in items:
                self.name(Place("names", path), text, None, positive=True)
            return True
        seen = [self._visit(item, (*path, "[]"), depth + 1) for item in items]
        return any(seen)


def step(key: Any) -> str:
    """How a path writes a member: `*` for one whose name is data, or may be somebody's text."""
    if not isinstance(key, str) or not recordable_label(key) or '"' in key:
        return "*"
    return f'"{key}"' if set(key) & set(".[]*$") else key


def written(path: Path) -> str:
    """A path as recipes write it; `$` for the output itself."""
    text = ""
    for one in path:
        text += one if one == "[]" or not text else f".{one}"
    return text or "$"


def _member(box: dict[Any, Any], names: tuple[str, ...]) -> str | None:
    """The member that holds a label, in whatever case it is written."""
    own = {key.casefold(): key for key in box if isinstance(key, str)}
    found = (own[name] for name in names if name in own)
    return next((key for key in found if isinstance(box[key], str) and box[key]), None)


def _holds_verdicts(box: dict[Any, Any]) -> bool:
    """Whether every value is a boolean or a score, and a key beside the usual ones has it."""
    if not box or not all(isinstance(key, str) for key in box):
        return False
    scores = all(isinstance(v, bool | float) and -1 <= v <= 1 for v in box.values())
    return scores and any(fold(key) not in _NO_LABELS for key in box)


def _common_verdict(box: dict[Any, Any]) -> str | None:
    """The member that is the verdict in the details of every label."""
    if not box or not all(isinstance(k, str) and isinstance(v, dict) for k, v in box.items()):
        return None
    for member in _VERDICTS:
        values = [details.get(member) for details in box.values()]
        if all(isinstance(v, bool | float) and -1 <= v <= 1 for v in values):
            return member
    return None


def _holds_names(items: list[Any], path: Path) -> bool:
    if not items or not all(isinstance(item, str) and item for item in items):
        return False
    named = not path or fold(path[-1].strip('"')).endswith(_NAMES_OF_LISTS)
    return named and any(looks_like_label(item) for item in items)


def readers(survey: Survey) -> Iterator[dict[str, Any]]:
    """What reads the places, for a recipe; nothing for those that need none."""
    verdicts = {p: f for p, f in survey.places.items() if p.shape == "verdicts"}
    # Where booleans and scores stand side by side, the booleans are the verdicts.
    order = sorted(verdicts, key=lambda place: verdicts[place].scored)
    taken: list[tuple[Place, Path | None]] = []
    for place in order:
        first = next(
            (i for i, (other, _) in enumerate(taken) if _twins(other, place, verdicts)), -1
        )
        if first < 0:
            taken.append((place, None))
        elif verdicts[place].scored:
            taken[first] = (taken[first][0], place.path)
    for place, scores in taken:
        if place.path:
            yield _verdict_reader(place.path, scores)
    for place, found in survey.places.items():
        if place.shape == "records":
            value = {"value": "score"} if found.scored else {}
            yield {"each": written(place.path), "label": step(place.member), **value}
        elif place.shape == "details":
            yield {**_verdict_reader(place.path, None), "value": place.member}
        elif place.shape == "names" and place.path:
            yield {"each": written((*place.path, "[]")), "label": "$"}


def _twins(one: Place, other: Place, places: dict[Place, Found]) -> bool:
    """Whether two objects of one parent have the same labels."""
    if one.path[:-1] != other.path[:-1] or "[]" in (one.path[-1:] + other.path[-1:]):
        return False
    return places[one].labels.keys() == places[other].labels.keys()


def _verdict_reader(path: Path, scores: Path | None) -> dict[str, Any]:
    if not path or path[-1] in ("[]", "*"):
        return {"each": written(path), "keys": "$"}
    reader = {"each": written(path[:-1]), "keys": path[-1]}
    return {**reader, "score": scores[-1]} if scores else reader

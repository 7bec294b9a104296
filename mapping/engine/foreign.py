"""Reads the outputs of detectors that have no file, by what most tools have in common.

Found are records that name a label, objects whose keys are labels, lists of labels, parallel lists
of labels and scores, and verdicts, at any depth. What is no label by its shape, and what stands
under the name of a text, is left out: a label is never taken from content. That nothing was found
is believed only where the output says so of the whole.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final

from mapping.engine import foreign_words as words
from mapping.engine.bare import is_failure
from mapping.engine.foreign_members import Judgement, Members, Part, Scalar
from mapping.engine.foreign_text import read_text
from mapping.engine.formats import UNPARSED, parse_text
from mapping.engine.labels import recordable_label
from mapping.engine.sink import Sink
from mapping.engine.types import FLAGGED
from mapping.engine.values import NO_SEVERITY, number
from mapping.engine.vocabulary import LabelRule, fold

MAX_DEPTH: Final = 40  # deeper than an item of the API may be
_MAX_NESTED: Final = 3  # structures in texts in structures
# A plain verdict without a category. Below an exact rule: nobody has read this tool's manual.
_VERDICT_CONFIDENCE: Final = 0.7
_LISTED: Final = Judgement()
_FAILURES: Final = ("error", "exception")
_NOT_FOUND: Final = Judgement(severity=0)


class State(IntEnum):
    """What a part of an output says. Of two the higher one counts."""

    NOTHING = 0
    UNDER = 1  # labels that were not found, or not surely enough
    CLEAR = 2  # it states that nothing was found
    FOUND = 3


class Place(IntEnum):
    """Where an object stands, by which its numbers and booleans may be labels' or not."""

    INSIDE = 0  # in a record: only records are read
    NESTED = 1  # under an unknown name: scores too
    TOP = 2  # the output itself, or a result in it: booleans too
    LABELS = 3  # under a name like `categories`: 0, 1 and words too


class Maps:
    """Flags and scores by folded label, from objects side by side."""

    __slots__ = ("flags", "scores")

    def __init__(self, members: Members | None = None) -> None:
        self.flags, self.scores = members.maps() if members is not None else ({}, {})

    def score(self, folded: str) -> float | None:
        """The score of a flagged label, if there is one on a scale up to 1."""
        found = self.scores.get(folded)
        return found if found is not None and 0 <= found <= 1 else None


_NO_MAPS: Final = Maps()


def read_foreign(value: Any, text: str | None, threshold: float, rank: int, sink: Sink) -> None:
    """Reports the labels of a detector without a file.

    `rank`: severity of a verdict without a category. Sets `sink.cleared` if the output states of
    the whole that nothing was found.
    """
    reader = _Reader(threshold, sink)
    if value is UNPARSED:
        state = reader.text(text, whole=True) if text is not None else State.NOTHING
    else:
        state = reader.read(value, "", Place.TOP, 0)
        if is_failure(value) and not sink.failures:
            sink.failures += 1
    if reader.verdict is not None and not sink.hits:
        score, severity, word = reader.verdict
        rule = LabelRule(word, "finding", ((FLAGGED, rank),), _VERDICT_CONFIDENCE, generic=True)
        sink.add(rule, None if score < 0 else score, severity)
    sink.cleared = state is State.CLEAR and not (sink.hits or sink.failures or reader.too_deep)


class _Reader:
    __slots__ = ("_nested", "_sink", "_threshold", "too_deep", "verdict")

    def __init__(self, threshold: float, sink: Sink) -> None:
        self._threshold = threshold
        self._sink = sink
        self._nested = 0
        self.too_deep = False
        # Of a positive verdict without a label: score (-1: none), severity, word.
        self.verdict: tuple[float, int, str] | None = None

    def read(self, value: Any, name: str, place: Place, depth: int, maps: Maps = _NO_MAPS) -> State:
        """Any part of an output. `name`: that of the member, in normal spelling."""
        if depth > MAX_DEPTH:
            self.too_deep = True
            return State.NOTHING
        if isinstance(value, dict):
            return self._object(value, name, place, depth, maps)
        if isinstance(value, list | tuple):
            return self._list(value, name, place, depth)
        return State.NOTHING

    def text(self, text: str, *, whole: bool = False, depth: int = 0) -> State:
        """A text: the output itself (`whole`), or what a model said in it."""
        if self._nested > _MAX_NESTED:
            self.too_deep = True
            return State.NOTHING
        self._nested += 1
        found = read_text(text, whole=whole)
        states = [self.read(one, "", Place.TOP, depth + 1) for one in found.structures]
        self._sink.contradicts = self._sink.contradicts or found.contradicts
        if found.verdict is True:
            self._flag(found.word)
        if found.verdict is not None:
            states.append(State.FOUND if found.verdict else State.CLEAR)
        states += [self._judge(label, _LISTED, sure=True) for label in found.labels]
        self._nested -= 1
        return _of_all(states)

    def _written(self, text: str, name: str, place: Place, depth: int) -> State:
        """A structure that was written into a string."""
        if self._nested > _MAX_NESTED or text.lstrip()[:1] not in ("{", "[", "`", '"', "("):
            return State.NOTHING
        value = parse_text(text)
        if not isinstance(value, dict | list):
            return State.NOTHING
        self._nested += 1
        state = self.read(value, name, place, depth + 1)
        self._nested -= 1
        return state

    def _list(self, items: Iterable[Any], name: str, place: Place, depth: int) -> State:
        items = list(items)
        if items and all(isinstance(one, str) for one in items):
            return self._strings(items, name, place, depth)
        states = []
        for item in items:
            if isinstance(item, list | tuple) and (pair := _pair(item)) is not None:
                states.append(self._judge(pair[0], pair[1], sure=True))
            elif isinstance(item, str):
                states.append(self._written(item, name, place, depth))
            else:
                states.append(self.read(item, name, place, depth + 1))
        return _of_all(states)

    def _strings(self, items: list[str], name: str, place: Place, depth: int) -> State:
        labels = [words.label_of(item) for item in items]
        if words.lists_labels(name) and (place is not Place.INSIDE or words.holds_found(name)):
            self._sink.ignored += labels.count(None)
        elif (
            name
            or place is not Place.TOP
            or not all(label or item == "O" for label, item in zip(labels, items, strict=True))
        ):
            # Texts, or among them: then none is a label. But a structure may be written in one.
            states = [self._written(item, name, place, depth) for item in items]
            self._sink.ignored += states.count(State.NOTHING)
            return _of_all(states)
        return _of_all(self._judge(label, _LISTED, sure=True) for label in labels if label)

    def _object(
        self, box: dict[Any, Any], name: str, place: Place, depth: int, maps: Maps,
        inherited: bool | None = None,
    ) -> State:  # fmt: skip
        if box.get("role") in ("user", "system", "tool"):
            return State.NOTHING
        members = Members(box)
        members.hear(box, name)
        self._sink.ignored += members.unnamed
        self._sink.failures += members.failed
        label, sure = members.label()
        judged = members.judgement(of_label=label is not None)
        if judged.verdict is None and inherited is not None:
            judged = judged._replace(verdict=inherited)
        silent = not (judged.speaks or words.lists_findings(name))
        if silent and (not sure or place is Place.INSIDE or name in _FAILURES):
            label = None
        states = self._inside(members, Place.INSIDE if label else place, depth, judged)
        found_inside = State.FOUND in states
        if label is None:
            states += self._without_label(members, judged)
            if place is not Place.INSIDE:
                states += self._scalars(members, place, depth, maps, found_inside)
        elif not (members.failed or _is_group(members, sure, states)):
            states.append(self._judge(label, judged, sure=sure or words.lists_findings(name)))
        if judged.verdict is False and State.FOUND not in states:
            # That nothing was done is no verdict on what could not be read beside it.
            return _of_all([*states, State.CLEAR]) if members.only_acted else State.CLEAR
        return _of_all(states)

    def _inside(self, members: Members, place: Place, depth: int, judged: Judgement) -> list[State]:
        """Objects, lists and texts in an object that says `judged` of the whole."""
        pairs = members.parallel()
        maps = Maps(members)
        states = [
            self._judge(label, Judgement(score=score, scored=True), sure=True)
            for text, score in pairs
            if (label := words.label_of(text)) is not None
        ]
        states += [
            self._part(part, place, depth, maps, judged.verdict)
            for part in members.parts
            if part.value
        ]
        said = (self.text(text, depth=depth) for _, text in members.said)
        return states + [state for state in said if state is not State.NOTHING]

    def _part(
        self, part: Part, place: Place, depth: int, maps: Maps, verdict: bool | None
    ) -> State:
        name, key, value = part
        if isinstance(value, dict):
            if words.maps_labels(name) and (place is not Place.INSIDE or words.holds_found(name)):
                return self.read(value, name, Place.LABELS, depth + 1, maps)
            if name in _FAILURES:
                place = min(place, Place.NESTED)
            elif not words.is_structure(name) and place is not Place.INSIDE:
                return self._named(part, place, depth)
            if depth < MAX_DEPTH:  # a label may stand one level below its verdict
                inner = min(place, Place.TOP)
                return self._object(value, name, inner, depth + 1, _NO_MAPS, verdict)
        elif place is Place.LABELS and value and not words.is_structure(name):
            label = words.label_of(key)
            if label is not None and not all(isinstance(one, dict) for one in value):
                return self._scores_or_places(label, name, value)
        return self.read(value, name, min(place, Place.TOP), depth + 1)

    def _named(self, part: Part, place: Place, depth: int) -> State:
        """An object under a name that may be a label: `hate: {flagged: true, score: 0.9}`."""
        members = Members(part.value)
        judged = members.judgement(of_label=True)
        own, sure = members.label()
        label = words.label_of(part.key)
        if words.is_measure(part.name) or words.is_label_name(part.name) or (own and sure):
            label = None
        if label is None or not judged.judges:
            return self.read(part.value, part.name, min(place, Place.NESTED), depth + 1)
        inside = self._inside(members, Place.INSIDE, depth + 1, judged)
        return max([self._judge(label, judged, sure=place is Place.LABELS), *inside])

    def _scores_or_places(self, label: str, name: str, value: list[Any]) -> State:
        """`toxicity: [0.1, 0.9]` by sentence, or `EMAIL: [what was found]`."""
        numbers = [found for one in value if (found := number(one)) is not None]
        if numbers:
            if len(numbers) < len(value) or not all(0 <= one <= 1 for one in numbers):
                self._sink.ignored += 1
                return State.NOTHING
            return self._judge(label, Judgement(score=max(numbers), scored=True), sure=True)
        return self._judge(label, _LISTED, sure=True)

    def _without_label(self, members: Members, judged: Judgement) -> list[State]:
        """A list of labels, a label that is none, or a verdict alone."""
        listed = members.listed()
        if listed:
            return [self._judge(label, judged, sure=True) for label in listed]
        text = members.unreadable_label()
        if text is not None and (judged.verdict or (judged.score or 0) >= self._threshold):
            if recordable_label(text):  # a path, code: by its shape it would be kept
                self._flag(members.word, judged)
            else:
                self._sink.add(text, judged.score, judged.severity)  # kept as a keyed hash alone
            return [State.FOUND]
        if judged.verdict is True:
            self._flag(members.word, judged)
            return [State.FOUND]
        return []

    def _scalars(
        self, members: Members, place: Place, depth: int, maps: Maps, found_inside: bool
    ) -> list[State]:
        """Members whose names may be labels."""
        states = [self._judge(k, j, sure=True) for k, j in members.groups().items() if j.speaks]
        for one in members.scalars:
            if (
                isinstance(one.value, str)
                and len(one.value) > 1
                and (state := self._written(one.value, one.name, place, depth))
            ):
                states.append(state)
                continue
            judged = self._judge_scalar(one, place, maps)
            label = words.label_of(one.key) if judged is not None else None
            if judged is None or label is None:
                self._sink.ignored += 1
            elif not (found_inside and words.sums_up(one.name)):
                states.append(self._judge(label, judged, sure=True))
        return states

    def _judge_scalar(self, one: Scalar, place: Place, maps: Maps) -> Judgement | None:
        """What a value says of the label by which its member may be called; None: nothing."""
        name, key, value = one
        if place < Place.NESTED or not words.may_be_label(name):
            return None
        if words.is_measure(name) and place is not Place.LABELS:
            return None
        folded = fold(key)
        if place >= Place.TOP:
            said = words.yes_or_no(value)
            if said is None and isinstance(value, str):
                said = words.verdict_word(value)
            if said is not None:
                if said and words.is_negative_label(key):
                    return _LISTED
                return Judgement(True, maps.score(folded)) if said else _NOT_FOUND
        found = number(value)
        if found is None:
            rank = words.severity_rank(value) if isinstance(value, str) else NO_SEVERITY
            listed = place is Place.LABELS and rank != NO_SEVERITY
            return Judgement(severity=rank) if listed else None
        whole = isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal())
        if not 0 <= found <= 1 or (whole and place is not Place.LABELS):
            return None
        # Where there is a flag for the label beside the score, the flag decides.
        return _NOT_FOUND if folded in maps.flags else Judgement(score=found, scored=True)

    def _judge(self, label: str, judged: Judgement, *, sure: bool) -> State:
        """Reports a label if the record says that it was found. `sure`: else it may be none."""
        if "|" in label:
            parts = [part for one in label.split("|") if (part := words.label_of(one)) is not None]
            return _of_all([self._judge(part, judged, sure=sure) for part in parts])
        positive = judged.verdict
        if positive is None:
            positive = self._is_positive(judged, sure=sure)
            if positive is None:
                return State.NOTHING
        if not positive:
            return State.CLEAR if judged.verdict is False else State.UNDER
        if words.is_negative_label(label) and not (judged.located or judged.verdict):
            return State.CLEAR
        if words.is_plain_unsafe(label):
            self._flag(words.plain(label), judged)
        else:
            self._sink.add(label, judged.score, judged.severity)
        return State.FOUND

    def _is_positive(self, judged: Judgement, *, sure: bool) -> bool | None:
        """Without a verdict: by severity, score, or because it is listed."""
        if judged.severity == 0:
            return False
        if judged.located:  # the tool says where it is: it found it, by a threshold of its own
            return True
        if judged.score is not None:
            own = judged.threshold
            least = own if own is not None and 0 <= own <= 1 else self._threshold
            self._sink.under += judged.score < least
            return judged.score >= least
        if judged.scored:
            self._sink.unreadable += 1
            return None
        if not (sure or judged.severity > 0):
            self._sink.ignored += 1
            return None
        return True

    def _flag(self, word: str, judged: Judgement = _LISTED) -> None:
        score = -1.0 if judged.score is None else judged.score
        self.verdict = max(self.verdict or (-1.0, NO_SEVERITY, ""), (score, judged.severity, word))


def _is_group(members: Members, sure: bool, states: list[State]) -> bool:
    """Whether an object's label is but the name of the findings in it."""
    if sure and not members.names_a_tool:
        return False
    return State.FOUND in states if sure else any(states)


def _pair(item: Iterable[Any]) -> tuple[str, Judgement] | None:
    """`[violence, 0.42]`, or `[4, 15, SSN]`: a label with its score or place."""
    parts = list(item)
    if len(parts) == 2 and isinstance(parts[1], float) and 0 <= parts[1] <= 1:
        label = words.label_of(parts[0])
        return None if label is None else (label, Judgement(score=parts[1], scored=True))
    if len(parts) == 3 and type(parts[0]) is int and type(parts[1]) is int:
        label = words.label_of(parts[2])
        return None if label is None else (label, Judgement(located=True))
    return None


def _of_all(states: Iterable[State]) -> State:
    """Found if one part is; clear if one is and no other is silent."""
    known = set(states)
    if State.FOUND in known or State.CLEAR not in known:
        return max(known, default=State.NOTHING)
    return State.UNDER if State.NOTHING in known else State.CLEAR

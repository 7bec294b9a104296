"""Sorts the members of an object by what their names stand for."""

from typing import Any, Final, NamedTuple

from mapping.engine import foreign_words as words
from mapping.engine.values import NO_SEVERITY, number
from mapping.engine.vocabulary import fold

# `violence_score` and `violence_reason` together speak of `violence`.
_ASPECTS: Final = frozenset(
    (
        "score", "confidence", "probability", "severity", "level", "flagged", "detected", "passed",
        "result", "verdict", "threshold", "label", "reason", "reasoning", "explanation",
    )
)  # fmt: skip


class Judgement(NamedTuple):
    """What a record says of its label."""

    verdict: bool | None = None
    score: float | None = None
    severity: int = NO_SEVERITY
    located: bool = False  # it says where in the text the label was found
    scored: bool = False  # it has a member for a score, readable or not
    threshold: float | None = None  # its own

    @property
    def speaks(self) -> bool:
        """Whether it says anything at all."""
        return self.judges or self.located

    @property
    def judges(self) -> bool:
        """Whether it says more than where something stands."""
        return self.verdict is not None or self.scored or self.severity != NO_SEVERITY


class Part(NamedTuple):
    """An object or a list in an object."""

    name: str  # in normal spelling
    key: str
    value: Any


class Scalar(NamedTuple):
    """A member that is neither, and whose name stands for nothing known."""

    name: str
    key: str
    value: Any


class Members:
    """The members of one object. Lives as long as the call."""

    def __init__(self, box: dict[Any, Any]) -> None:
        self.parts: list[Part] = []
        self.scalars: list[Scalar] = []
        self.said: list[tuple[str, str]] = []
        self.failed = False
        self._words: list[str] = []  # of positive verdicts
        self.unnamed = 0  # members whose keys are no strings
        self._labels: list[tuple[int, str]] = []  # place in the order, text
        self._listed: list[list[str]] = []
        self._verdicts: list[bool] = []
        self._acted: list[bool] = []
        self._of_label: list[bool] = []  # verdicts that may be on a request, if there is no label
        self._score: float | None = None
        self._scored = self._located = self._summed = False
        self._severity = NO_SEVERITY
        self._threshold: float | None = None
        for key, value in box.items():
            if not isinstance(key, str):
                self.unnamed += 1
            elif isinstance(value, dict | list | tuple):
                self._structure(words.normal(key), key, value)
            else:
                self._scalar(words.normal(key), key, value)

    def _structure(self, name: str, key: str, value: Any) -> None:
        role = words.role_of(name)
        if role == "failure":
            self.failed = self.failed or bool(value)
            if isinstance(value, dict):
                self.parts.append(Part(name, key, value))
        elif role == "place":
            self._located = True
        elif role == "score" and isinstance(value, dict) and number(value.get("value")) is not None:
            self._take_score(value["value"])
        elif role in ("label", "weak label") and value and _all_strings(value):
            self._listed.append(list(value))
        elif not words.leads_nowhere(name):
            self.parts.append(Part(name, key, value))

    def _scalar(self, name: str, key: str, value: Any) -> None:
        role = words.role_of(name)
        if words.says_failed(name, value) or (role == "failure" and value):
            self.failed = True
        elif role in ("label", "weak label"):
            self._take_label(name, key, value)
        elif role in ("good", "bad", "acted"):
            self._take_verdict(name, key, value, role)
        elif role == "word":
            self._take_word(name, value)
        elif role == "said":
            if isinstance(value, str):
                self.said.append((name, value))
        elif role in ("other", "labels", "structure"):
            self._take_other(name, key, value)
        else:
            self._take_measure(role, value)

    def _take_measure(self, role: words.Role, value: Any) -> None:
        if role == "score":
            self._take_score(value)
        elif role == "severity":
            self._severity = max(self._severity, words.severity_rank(value))
        elif role == "threshold":
            self._threshold = number(value)
        elif role == "place":
            self._located = self._located or value is not None

    def _take_other(self, name: str, key: str, value: Any) -> None:
        if name == "success" and isinstance(value, bool):
            self._of_label.append(not value)
            return
        if words.sums_up(name) and words.yes_or_no(value) is True:
            self._summed = True
        self.scalars.append(Scalar(name, key, value))

    def _take_label(self, name: str, key: str, value: Any) -> None:
        if not isinstance(value, str):
            if value is not None:
                self.scalars.append(Scalar(name, key, value))
            return
        verdict = words.verdict_word(value)
        if verdict is not None and words.is_outcome(value):
            self._verdicts.append(verdict)
        elif value:
            # `outcome_label` and the like: as sure as the last that are listed.
            self._labels.append((words.LABEL_ORDER.get(name, words.FIRST_WEAK - 1), value))

    def _take_score(self, value: Any) -> None:
        self._scored = True
        found = number(value)
        if found is None:
            verdict = words.yes_or_no(value)
            if verdict is True:  # `score_value: "True"`
                self._verdicts.append(True)
            elif verdict is False and self._score is None:  # of this label, not of the whole
                self._score = 0.0
        elif 0 <= found <= 1:
            self._score = found if self._score is None else max(self._score, found)
        else:
            self._located = True  # on a scale that is not known: listed is found

    def _take_verdict(self, name: str, key: str, value: Any, role: words.Role) -> None:
        said = words.yes_or_no(value)
        if said is None and role == "bad" and type(value) is int and value == 1:
            said = True  # other whole numbers are counts: `passed: 1, failed: 4`
        if said is None:
            if value is not None:
                self.scalars.append(Scalar(name, key, value))
            return
        found = said is (role != "good")
        (self._acted if role == "acted" else self._verdicts).append(found)
        if found:
            self._words.append(name)

    def _take_word(self, name: str, value: Any) -> None:
        verdict = words.verdict_word(value)
        if name == "status":
            if verdict is not None and words.is_outcome(value):
                self._of_label.append(verdict)
        elif verdict is not None:
            (self._acted if name == "action" else self._verdicts).append(verdict)
            if verdict:
                self._words.append(words.plain(value))
        elif name in ("classification", "prediction") and isinstance(value, str):
            self._labels.append((len(words.LABEL_ORDER), value))

    @property
    def only_acted(self) -> bool:
        """Whether all that is said of the whole is what was done: `action: NONE`."""
        return bool(self._acted) and not self._verdicts

    def judgement(self, *, of_label: bool) -> Judgement:
        """What the object says of its label, or of the whole if it has none."""
        said = [*self._verdicts, *(self._of_label if of_label else ())]
        if of_label and self._summed:
            said.append(True)
        if self._acted and (any(self._acted) or not (said or self._severity > 0)):
            said.append(any(self._acted))
        verdict = any(said) if said else None
        return Judgement(
            verdict, self._score, self._severity, self._located, self._scored, self._threshold
        )

    def label(self) -> tuple[str | None, bool]:
        """The label by the surest member, and whether the member can mean nothing else.

        `safe` yields to any other sure label: `label: safe, outcome_label: refusal`.
        """
        found = [
            (place >= words.FIRST_WEAK, words.is_negative_label(label), place, label)
            for place, text in self._labels
            if (label := words.label_of(text)) is not None
        ]
        if not found:
            return None, False
        weak, _, _, label = min(found)
        return label, not weak

    @property
    def word(self) -> str:
        """What the positive verdict is called."""
        return min(self._words, default="flagged")

    @property
    def names_a_tool(self) -> bool:
        """Whether the label is the name of a tool or a check, which may hold findings."""
        first = min(self._labels, default=(0, ""))[0]
        return any(words.LABEL_ORDER[name] == first for name in words.GROUPS)

    def hear(self, box: dict[Any, Any], name: str) -> None:
        """Takes what a model said in a chat: `{"role": "assistant", "content": "unsafe"}`."""
        spoken = box.get("role") in ("assistant", "model") or (
            name == "message" and "role" not in box
        )
        for member in ("content", "text"):
            text = box.get(member)
            if isinstance(text, str) and (spoken or (name == "choices" and member == "text")):
                self.said.append((member, text))

    def unreadable_label(self) -> str | None:
        """A text that stands where a label belongs, and cannot be one."""
        for place, text in sorted(self._labels):
            if place < words.FIRST_WEAK and words.label_of(text) is None and len(text) > 1:
                return text
        return None

    def listed(self) -> list[str]:
        """Labels in lists under the name of a label: `category: [hate, violence]`."""
        found = (words.label_of(text) for texts in self._listed for text in texts)
        return [label for label in found if label is not None]

    def parallel(self) -> list[tuple[str, float]]:
        """Labels and scores in two lists of one length. Takes both out of the parts."""
        labels = [p for p in self.parts if _all_strings(p.value) and words.lists_labels(p.name)]
        numbers = [p for p in self.parts if words.lists_scores(p.name) and _all_numbers(p.value)]
        pairs: list[tuple[str, float]] = []
        for part in labels:
            for scores in numbers:
                if len(scores.value) == len(part.value) > 0:
                    self.parts.remove(part)
                    self.parts.remove(scores)
                    numbers.remove(scores)
                    pairs += zip(part.value, map(float, scores.value), strict=True)
                    break
        return pairs

    def maps(self) -> tuple[dict[str, bool], dict[str, float]]:
        """Flags and scores by label, of all objects that stand side by side here."""
        flags: dict[str, bool] = {}
        scores: dict[str, float] = {}
        for part in self.parts:
            if isinstance(part.value, dict) and words.maps_labels(part.name):
                for key, value in part.value.items():
                    if isinstance(key, str) and isinstance(value, bool):
                        flags[fold(key)] = flags.get(fold(key), False) or value
                    elif isinstance(key, str) and (found := number(value)) is not None:
                        scores[fold(key)] = found
        return flags, scores

    def groups(self) -> dict[str, Judgement]:
        """Labels that several members speak of by prefix. Takes these out of the scalars."""
        by_base: dict[str, list[tuple[str, Scalar]]] = {}
        plain = {one.name: one for one in self.scalars}
        for one in self.scalars:
            base, _, aspect = one.name.rpartition("_")
            if base and aspect in _ASPECTS:
                by_base.setdefault(base, []).append((aspect, one))
        found: dict[str, Judgement] = {}
        for base, aspects in by_base.items():
            own = plain.get(base)
            if len(aspects) + (own is not None) < 2 or words.role_of(base) != "other":
                continue
            record: dict[str, Any] = {
                "flagged"
                if aspect == "label" and isinstance(one.value, bool)
                else aspect: one.value
                for aspect, one in aspects
            }
            key = base if own is None else own.key
            if own is not None:
                record |= _aspect_of(own.value)
            if words.label_of(key) is not None:
                found[key] = Members(record).judgement(of_label=True)
                used = {one.name for _, one in aspects} | {base}
                self.scalars = [one for one in self.scalars if one.name not in used]
        return found


def _aspect_of(value: Any) -> dict[str, Any]:
    """The member `violence` beside `violence_score`: a severity, a verdict or a score."""
    if isinstance(value, str):
        return {"severity": value, "verdict": value}
    return {"flagged": value} if isinstance(value, bool) else {"score": value}


def _all_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _all_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(number(one) is not None for one in value)

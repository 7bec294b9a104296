"""How much is accepted, and how right that is, at each threshold; and which threshold to take.

An answer is accepted if its confidence reaches the threshold; everything else goes to review. The
precision is the share of accepted answers whose first label is right (metrics.accepted). What it is
in truth is known within bounds alone: below the exact lower bound of Clopper and Pearson (1934) it
lies in no more than 5 of 100 such samples.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from mapping.evaluation import metrics
from mapping.evaluation.cases import SAME_OUTCOME, Case
from mapping.evaluation.predictors import Prediction

By: TypeAlias = Literal["all", "detector", "branch"]
BYS: Final[tuple[By, ...]] = get_args(By)
ALPHA: Final = 0.05  # one-sided
STEPS: Final = 1_000  # thresholds are looked for in steps of 0.001
SHOWN: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_MAX_ITERATIONS: Final = 10_000


class Row(NamedTuple):
    """What a threshold does. Shares are 0 to 1; precision and its bound: None if nothing passes."""

    threshold: float
    accepted: int
    right: int
    coverage: float  # share of all cases that is accepted
    precision: float | None
    lower: float | None  # 95 %, one-sided
    review: float  # share of all cases that is not accepted


class Answered(NamedTuple):
    """An answer: how certain it is, and whether it is right."""

    confidence: float
    right: bool


@dataclass(frozen=True, slots=True)
class TradeOff:
    """The answers of a group of cases, ready to be asked for any threshold."""

    cases: int  # with those that were not answered
    confidences: tuple[float, ...]  # sorted
    rights: tuple[int, ...]  # right answers among the first 0, 1, 2 ... of them

    @classmethod
    def of(cls, cases: int, answers: Iterable[Answered]) -> Self:
        """`cases`: how many there are, answered or not."""
        ordered = sorted(answers)
        rights = accumulate((answer.right for answer in ordered), initial=0)
        return cls(cases, tuple(answer.confidence for answer in ordered), tuple(rights))

    def at(self, threshold: float) -> Row:
        """What a threshold does."""
        accepted, right = self._counts(threshold)
        return Row(
            threshold,
            accepted,
            right,
            accepted / self.cases if self.cases else 0.0,
            right / accepted if accepted else None,
            lower_bound(right, accepted) if accepted else None,
            1 - accepted / self.cases if self.cases else 0.0,
        )

    def table(self, extra: float | None = None) -> list[Row]:
        """Rows for SHOWN, and for one more; those that accept the same are one, at the lowest."""
        wanted = {*SHOWN, 1.0} if extra is None else {*SHOWN, 1.0, extra}
        rows: list[Row] = []
        for threshold in sorted(wanted):
            row = self.at(threshold)
            if not row.accepted:
                break
            if threshold == extra or not rows or rows[-1].accepted != row.accepted:
                rows.append(row)
        return rows

    def lowest(self, target: float) -> float | None:
        """The lowest threshold with a precision of surely at least `target`; None if there is none.

        Surely: the lower bound reaches it. It is a multiple of 0.001 and not below the lowest
        confidence, because of answers less certain than all of these nothing is known.
        """
        if not self.confidences:
            return None
        for step in range(math.floor(self.confidences[0] * STEPS), STEPS + 1):
            accepted, right = self._counts(step / STEPS)
            if not accepted:
                return None
            if right and tail(right, accepted, target) <= ALPHA:
                return step / STEPS
        return None

    def _counts(self, threshold: float) -> tuple[int, int]:
        first = bisect_left(self.confidences, threshold)
        return len(self.confidences) - first, self.rights[-1] - self.rights[first]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of cases and what is proposed for it."""

    name: str  # a detector, a branch, or "all"
    trade_off: TradeOff
    target: float

    @property
    def proposed(self) -> float | None:
        """The lowest threshold that reaches the target; None if there is none."""
        return self.trade_off.lowest(self.target)

    @property
    def verdict(self) -> str:
        """What is proposed, or why nothing is."""
        proposed, answered = self.proposed, len(self.trade_off.confidences)
        if proposed is not None:
            return f"threshold {proposed:.3f}"
        needed = cases_needed(self.target)
        if answered < needed:
            return f"too few cases: {answered} answered, {needed} needed even without an error"
        return f"no threshold is surely right in {100 * self.target:g} % of what it accepts"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "cases": self.trade_off.cases,
            "answered": len(self.trade_off.confidences),
            "proposed": self.proposed,
            "verdict": self.verdict,
            "table": [row._asdict() for row in self.trade_off.table(self.proposed)],
        }


def groups_of(
    by: By, cases: Sequence[Case], predictions: Sequence[Prediction], target: float
) -> list[Group]:
    """The groups of cases, in order of their names. `predictions` in the order of the cases.

    By branch a case belongs to the branches of the answer's first label, as a threshold does. The
    longest with a proposal has it for itself: the branches above are asked for the rest alone,
    because at run time the longest branch wins. Cases without an answer belong to no branch.
    """
    pairs = list(zip(cases, predictions, strict=True))
    if by == "branch":
        return _by_branch(pairs, target)
    named: dict[str, list[tuple[Case, Prediction]]] = {}
    for case, prediction in pairs:
        name = case.question.detector if by == "detector" else "all"
        named.setdefault(name, []).append((case, prediction))
    return [_group(name, found, target) for name, found in sorted(named.items())]


def proposals(by: By, groups: Iterable[Group]) -> Mapping[str, Any]:
    """The proposed thresholds as the section `mapping` of pillars.yaml takes them."""
    found = {group.name: group.proposed for group in groups if group.proposed is not None}
    if by == "all":
        return {"confidence_threshold": found["all"]} if found else {}
    return {f"{by}_thresholds": found} if found else {}


def lower_bound(right: int, of: int) -> float:
    """The exact one-sided 95 % lower bound of a share (Clopper and Pearson 1934); 0 of none."""
    if right == 0:
        return 0.0
    low, high = 0.0, right / of
    for _ in range(50):  # to 1e-15: the tail grows with the share
        middle = (low + high) / 2
        if tail(right, of, middle) > ALPHA:
            high = middle
        else:
            low = middle
    return low


def cases_needed(target: float) -> int:
    """How many answers, all of them right, put the lower bound at the target."""
    return math.ceil(math.log(ALPHA) / math.log(target) - 1e-9)


def tail(right: int, of: int, share: float) -> float:
    """Probability of at least `right` (> 0) successes of `of` where each has probability `share`.

    It is the regularised incomplete beta function I(share; right, of - right + 1).
    """
    return _beta(right, of - right + 1, share)


def _beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), by its continued fraction where that converges fast (DLMF 8.17.22 and 8.17.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    return front / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method as modified by Thompson and Barnett (1986)."""
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, _MAX_ITERATIONS):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _group(name: str, pairs: Sequence[tuple[Case, Prediction]], target: float) -> Group:
    answers = (
        Answered(prediction.confidence, metrics.accepted(prediction.labels, case.right))
        for case, prediction in pairs
        if not prediction.abstained
    )
    return Group(name, TradeOff.of(len(pairs), answers), target)


def _by_branch(pairs: Sequence[tuple[Case, Prediction]], target: float) -> list[Group]:
    named: dict[str, list[tuple[Case, Prediction]]] = {}
    for case, prediction in pairs:
        if not prediction.abstained:
            name = SAME_OUTCOME.get(prediction.labels[0], prediction.labels[0])
            while name := name.rpartition(".")[0]:
                named.setdefault(name, []).append((case, prediction))
    found: list[Group] = []
    taken: set[str] = set()  # ids of cases for which a longer branch has a proposal
    for name in sorted(named, key=lambda one: (-one.count("."), one)):
        rest = [pair for pair in named[name] if pair[0].question.id not in taken]
        group = _group(name, rest, target)
        found.append(group)
        if group.proposed is not None:
            taken.update(case.question.id for case, _ in rest)
    return sorted(found, key=lambda group: group.name)

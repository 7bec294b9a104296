"""The figures of an evaluation. Each says how it is defined and where it comes from."""

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from mapping.evaluation.strata import is_outcome

BINS: Final = 15
DRAWS: Final = 1_000
SEED: Final = 0


class Judged(NamedTuple):
    """A prediction beside the answer. `confidence` counts only where something was answered."""

    confidence: float
    right: bool
    answered: bool = True


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def exact(labels: Collection[str], expected: Collection[str]) -> bool:
    """Whether the answer names exactly the expected labels: no more, no fewer (subset accuracy)."""
    return set(labels) == set(expected)


def accepted(labels: Sequence[str], right: Collection[str]) -> bool:
    """Whether the first label of the answer is expected or accepted (top-1)."""
    return bool(labels) and labels[0] in right


def hit(ranking: Sequence[str], right: Collection[str], within: int = 5) -> bool:
    """Whether an expected or accepted label is among the first `within` of the ranking."""
    return any(label in right for label in ranking[:within])


def parent(label: str) -> str:
    """A label's name without its last part; an outcome (OTHER.*) is its own parent.

    Otherwise "safe" would be near "flagged", because both are called OTHER.
    """
    return label if is_outcome(label) else label.rpartition(".")[0] or label


def parent_right(labels: Sequence[str], right: Iterable[str]) -> bool:
    """Whether the first label has the parent of an expected or accepted one."""
    return bool(labels) and parent(labels[0]) in {parent(one) for one in right}


def macro_f1(pairs: Iterable[tuple[Collection[str], Collection[str]]]) -> float:
    """Mean of F1 over the labels that some case expects, each label weighing the same.

    `pairs`: answered labels, expected labels. F1 of a label = 2 TP / (2 TP + FP + FN), counted over
    cases that may have several labels (van Rijsbergen 1979; macro as in Sebastiani 2002). Labels
    that are answered but never expected cost precision nowhere: see exact and accepted for them.
    """
    hits, answers, wanted = Counter[str](), Counter[str](), Counter[str]()
    for labels, expected in pairs:
        answers.update(set(labels))
        wanted.update(set(expected))
        hits.update(set(labels) & set(expected))
    scores = [2 * hits[label] / (answers[label] + count) for label, count in wanted.items()]
    return math.fsum(scores) / len(scores) if scores else 0.0


def macro_over(groups: Mapping[str, Sequence[bool]], draws: int = DRAWS) -> Interval:
    """Mean over detectors of the share of right cases, each detector weighing the same.

    The interval is the 2.5th to 97.5th percentile of the means of `draws` bootstrap samples of
    detectors (Efron and Tibshirani 1993, percentile method), because cases of one detector are no
    independent draws. The seed is fixed: the same cases give the same interval.
    """
    shares = [sum(group) / len(group) for _, group in sorted(groups.items()) if group]
    if not shares:
        return Interval(0.0, 0.0, 0.0)
    generator = random.Random(SEED)  # noqa: S311 - no secret: repeatable on purpose
    means = sorted(
        math.fsum(generator.choices(shares, k=len(shares))) / len(shares) for _ in range(draws)
    )
    return Interval(
        math.fsum(shares) / len(shares), means[int(0.025 * draws)], means[int(0.975 * draws)]
    )


def coverage(items: Sequence[Judged]) -> float:
    """Share of cases that were answered rather than abstained from."""
    return sum(item.answered for item in items) / len(items) if items else 0.0


def selective_accuracy(items: Sequence[Judged], at: float = 0.9) -> float | None:
    """Accuracy on the `at` of all cases with the highest confidence (El-Yaniv and Wiener 2010).

    Of cases with the same confidence at the boundary, the expected share of a random choice counts.
    None if fewer than that were answered: what was not answered has no confidence.
    """
    wanted = math.ceil(at * len(items) - 1e-9)
    if not wanted or sum(item.answered for item in items) < wanted:
        return None
    taken, right = 0, 0.0
    for size, good in _ties(items):
        part = min(size, wanted - taken)
        taken += part
        right += good * part / size
        if taken == wanted:
            break
    return right / wanted


def aurc(items: Sequence[Judged]) -> float | None:
    """Area under the risk-coverage curve (Geifman, Uziel and El-Yaniv 2019); less is better.

    Mean over k = 1..n of the share of errors among the k most confident cases. Abstentions come
    last; an order among equal confidences is taken at random (its expected value).
    """
    seen, errors, area = 0, 0.0, 0.0
    for size, good in _ties(items):
        rate = (size - good) / size
        area += sum((errors + rate * k) / (seen + k) for k in range(1, size + 1))
        seen += size
        errors += size - good
    return area / seen if seen else None


def calibration_error(items: Sequence[Judged], bins: int = BINS) -> float | None:
    """ECE: mean distance of confidence and accuracy over bins of equal mass, of answered cases.

    Expected calibration error of Naeini et al. 2015, with bins of as many cases each (Nguyen and
    O'Connor 2015). Cases of the same confidence stay in one bin, that of their middle one, so that
    no order among them matters. None if nothing was answered.
    """
    answered = [item for item in items if item.answered]
    sums: dict[int, list[float]] = {}
    start = 0
    for size, good, confidence in _tie_groups(answered):
        place = min(bins - 1, int((start + size / 2) * bins / len(answered)))
        total = sums.setdefault(place, [0.0, 0.0])
        total[0] += confidence * size
        total[1] += good
        start += size
    if not answered:
        return None
    return math.fsum(abs(told - good) for told, good in sums.values()) / len(answered)


def brier(items: Sequence[Judged]) -> float | None:
    """Mean squared distance of confidence and being right (0 or 1), of answered cases (Brier 1950).

    None if nothing was answered.
    """
    errors = [(item.confidence - item.right) ** 2 for item in items if item.answered]
    return math.fsum(errors) / len(errors) if errors else None


def _ties(items: Sequence[Judged]) -> list[tuple[int, int]]:
    """Size and right cases of each confidence, the highest first; abstentions last."""
    answered = [item for item in items if item.answered]
    groups = [(size, good) for size, good, _ in reversed(_tie_groups(answered))]
    abstained = [item for item in items if not item.answered]
    if abstained:
        groups.append((len(abstained), sum(item.right for item in abstained)))
    return groups


def _tie_groups(answered: Sequence[Judged]) -> list[tuple[int, int, float]]:
    """Size, right cases and confidence of each confidence, the lowest first."""
    ordered = sorted(answered, key=lambda item: item.confidence)
    found = []
    for confidence, group in groupby(ordered, key=lambda item: item.confidence):
        members = list(group)
        found.append((len(members), sum(item.right for item in members), confidence))
    return found

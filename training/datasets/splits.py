"""Which vendors are learnt from, validated on and tested on.

A vendor, with all its detectors, is on one side only: detectors of one maker share labels and
wording. What belongs to no detector (aliases, invented labels) is always learnt from.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from training.datasets.sides import Side, fold_of
from training.datasets.sources import Item

# What a side's share may exceed, so that one large vendor does not fill it alone.
_OVER: Final = 1.1
# Of one category's labels, at most this share is taken away from training for a side.
_CATEGORY: Final = 0.3
_FEW: Final = 60  # labels of a category that may always be taken


class SplitError(ValueError):
    """Vendors cannot be divided as asked. The message says what to change."""


@dataclass(frozen=True, slots=True)
class Splitting:
    """How vendors are divided.

    `hold_out`: detectors whose vendors are the whole test. `fold`: (i, K) tests on the i-th of K
    parts, 0 to K - 1. `everything`: no test; only the validation's vendors are not learnt from
    (none either with `validation` 0).
    """

    validation: float = 0.1  # shares of the detectors' labels
    test: float = 0.1
    hold_out: tuple[str, ...] = ()
    fold: tuple[int, int] | None = None
    everything: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if sum((bool(self.hold_out), self.fold is not None, self.everything)) > 1:
            raise SplitError("Give one of --hold-out, --fold and --everything.")
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 0.8):
            raise SplitError("Shares of validation and test must be 0 to 0.8 together.")
        if self.fold is not None and not 0 <= self.fold[0] < self.fold[1]:
            raise SplitError("A fold is i/K with i from 0 to K - 1.")


def divide(items: Iterable[Item], splitting: Splitting) -> dict[str, Side]:
    """The side of every vendor. Raises SplitError for a detector that nobody knows."""
    scored = [one for one in items if one.kind in ("detector", "decision")]
    rows = Counter(one.vendor for one in scored)
    categories: dict[str, Counter[str]] = {}
    for one in scored:
        categories.setdefault(one.vendor, Counter())[one.example.category] += 1
    sides: dict[str, Side] = dict.fromkeys(rows, "train")
    tested = _tested(scored, splitting)
    sides |= dict.fromkeys(tested or (), "test")
    order = sorted(rows, key=lambda vendor: _hash(splitting.seed, vendor))
    if tested is None:
        _take(sides, "test", splitting.test, order, categories)
    # Validation comes from the other end, so that it stays the same when the test is larger.
    _take(sides, "validation", splitting.validation, order[::-1], categories)
    return sides


def _tested(scored: Iterable[Item], splitting: Splitting) -> set[str] | None:
    """Vendors that are asked for as the test; None: by shares."""
    if splitting.everything:
        return set()
    if splitting.fold is not None:
        part, folds = splitting.fold
        return {one.vendor for one in scored if fold_of(one.vendor, folds) == part}
    if not splitting.hold_out:
        return None
    vendors = {one.example.detector: one.vendor for one in scored}
    unknown = [name for name in splitting.hold_out if name not in vendors]
    if unknown:
        raise SplitError(f"{unknown[0]}: there is no such detector. Check --hold-out.")
    return {vendors[name] for name in splitting.hold_out}


def _take(
    sides: dict[str, Side],
    side: Side,
    share: float,
    order: Iterable[str],
    categories: Mapping[str, Counter[str]],
) -> None:
    """Moves vendors that are learnt from to a side until it has its share of rows."""
    total: Counter[str] = Counter()
    for one in categories.values():
        total.update(one)
    target = share * total.total()
    taken: Counter[str] = Counter()
    for vendor in order:
        mine = categories[vendor]
        fits = taken.total() + mine.total() <= _OVER * target and all(
            taken[name] + count <= max(_CATEGORY * total[name], _FEW)
            for name, count in mine.items()
        )
        if sides[vendor] == "train" and taken.total() < target and fits:
            sides[vendor] = side
            taken.update(mine)


def _hash(seed: int, vendor: str) -> str:
    return hashlib.sha256(f"{seed}/{vendor}".encode()).hexdigest()

"""Every figure against examples worked out by hand."""

import pytest

from mapping.evaluation import metrics
from mapping.evaluation.metrics import Judged


def of(*pairs: tuple[float, int]) -> list[Judged]:
    return [Judged(confidence, bool(right)) for confidence, right in pairs]


ABSTAINED = Judged(0.0, right=False, answered=False)
ABSTAINED_RIGHTLY = Judged(0.0, right=True, answered=False)


def test_exact_accepted_hit_and_parent() -> None:
    assert metrics.exact(("A.B", "A.C"), ("A.C", "A.B"))
    assert not metrics.exact(("A.B",), ("A.C", "A.B"))
    assert metrics.accepted(("A.B", "A.X"), {"A.B"})
    assert not metrics.accepted(("A.X", "A.B"), {"A.B"})
    assert metrics.hit(["1", "2", "3", "4", "A.B"], {"A.B"})
    assert not metrics.hit(["1", "2", "3", "4", "5", "A.B"], {"A.B"})
    assert metrics.parent_right(("A.B.C",), {"A.B.D"})
    assert not metrics.parent_right(("A.B.C",), {"A.D"})
    assert not metrics.parent_right(("OTHER.Safe",), {"OTHER.Flagged"})


def test_macro_f1() -> None:
    """a: TP 1, FP 1, FN 1: 1/2. b: TP 1: 1. c: FN 1: 0. Of d, never expected: no part."""
    pairs = [(["a"], ["a"]), (["a"], ["c"]), (["b"], ["b"]), (["d"], ["a"])]
    assert metrics.macro_f1(pairs) == pytest.approx((0.5 + 1 + 0) / 3)


def test_the_mean_over_detectors_weighs_each_the_same() -> None:
    found = metrics.macro_over({"large": [True] * 99 + [False], "small": [False]})
    assert found.mean == pytest.approx(0.495)
    assert (found.low, found.high) == pytest.approx((0.0, 0.99))
    assert metrics.macro_over({"a": [True, False], "b": [True, False]}) == (0.5, 0.5, 0.5)


def test_coverage_and_selective_accuracy() -> None:
    items = of((0.9, 1), (0.8, 0), (0.7, 1), (0.1, 0))
    assert metrics.coverage([*items, ABSTAINED]) == pytest.approx(0.8)
    assert metrics.selective_accuracy(items, 0.75) == pytest.approx(2 / 3)
    assert metrics.selective_accuracy([*items, ABSTAINED], 0.9) is None
    # Two of the four equal ones are taken, whichever: half of them are right.
    assert metrics.selective_accuracy(of((0.5, 1), (0.5, 0), (0.5, 1), (0.5, 0)), 0.5) == 0.5


def test_aurc() -> None:
    """Risks at k = 1, 2, 3: 0, 1/2, 1/3."""
    assert metrics.aurc(of((0.9, 1), (0.8, 0), (0.7, 1))) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    # Among equals, any order: the risk is 1/2 all along.
    assert metrics.aurc(of((0.5, 1), (0.5, 0))) == pytest.approx(0.5)
    # Abstentions come last: 0, then 1/2 for a wrong one and 0 for a right one.
    assert metrics.aurc([ABSTAINED, *of((0.1, 1))]) == pytest.approx(0.25)
    assert metrics.aurc([ABSTAINED_RIGHTLY, *of((0.1, 1))]) == 0
    assert metrics.aurc([]) is None


def test_calibration_error() -> None:
    """Bins {0.2, 0.4} and {0.6, 1.0}: means 0.3 and 0.8, right 1/2 and 1: (0.2 + 0.2) / 2."""
    items = of((0.2, 1), (0.4, 0), (0.6, 1), (1.0, 1))
    assert metrics.calibration_error(items, bins=2) == pytest.approx(0.2)
    # Equal confidences are one bin, however many bins there are: |1 - 3/4|.
    assert metrics.calibration_error(of((1, 1), (1, 0), (1, 1), (1, 1))) == pytest.approx(0.25)
    assert metrics.calibration_error([ABSTAINED]) is None


def test_brier() -> None:
    items = [*of((0.8, 1), (0.6, 0)), ABSTAINED]
    assert metrics.brier(items) == pytest.approx((0.04 + 0.36) / 2)
    assert metrics.brier([ABSTAINED]) is None

"""The tests of significance against values that are known from elsewhere."""

import pytest

from mapping.serving.significance import (
    compare_shares,
    fisher_exact,
    mcnemar,
    two_proportions,
)


def test_the_lady_tasting_tea() -> None:
    """Fisher 1935: three of four cups right; both sides together 34/70."""
    assert fisher_exact(3, 4, 1, 4) == pytest.approx(34 / 70)


@pytest.mark.parametrize(
    ("table", "p"),
    [
        # Of scipy.stats.fisher_exact's documentation and tests.
        ((6, 8, 1, 6), 0.10256410256410257),  # [[6, 2], [1, 5]] one way round
        ((8, 10, 1, 6), 0.034965034965034975),  # [[8, 2], [1, 5]]
        ((0, 5, 0, 7), 1.0),
    ],
)
def test_fishers_exact_test(table: tuple[int, int, int, int], p: float) -> None:
    assert fisher_exact(*table) == pytest.approx(p, rel=1e-9)


def test_the_z_test() -> None:
    """By hand: 0.45 of 200 against 0.35 of 200 pooled at 0.40, z = 0.1 / 0.04899 = 2.0412."""
    assert two_proportions(90, 200, 70, 200) == pytest.approx(0.04123, abs=1e-5)
    assert two_proportions(5, 10, 5, 10) == 1.0
    assert two_proportions(10, 10, 10, 10) == 1.0


def test_mcnemars_test() -> None:
    """2 * (C(10,0) + C(10,1)) / 2^10 for one pair against nine."""
    found = mcnemar(1, 9)
    assert found is not None
    assert found == ("McNemar's exact test", 22 / 1024)
    assert mcnemar(9, 1) == found
    assert mcnemar(0, 0) is None
    assert mcnemar(5, 5) is not None
    assert mcnemar(5, 5).p == 1.0  # type: ignore[union-attr]


def test_few_are_counted_exactly_and_many_by_the_normal_curve() -> None:
    few, many = compare_shares(3, 4, 1, 4), compare_shares(90, 200, 70, 200)
    assert few is not None
    assert many is not None
    assert (few.test, many.test) == ("Fisher's exact test", "two-proportion z-test")
    assert compare_shares(0, 0, 1, 4) is None
    # Where both may be used they say nearly the same.
    exact = fisher_exact(450, 1_000, 410, 1_000)
    assert two_proportions(450, 1_000, 410, 1_000) == pytest.approx(exact, abs=0.01)

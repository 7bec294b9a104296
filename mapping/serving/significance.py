"""Whether two shares differ by more than chance. Plain Python; checked against known values.

- Two-proportion z-test with pooled variance (Fleiss, Levin and Paik, Statistical Methods for Rates
  and Proportions, 3rd ed. 2003, ch. 3.1), for independent labels where counts are large.
- Fisher's exact test, two-sided by summing all tables that are no likelier than the one seen
  (ibid., ch. 3.2; as scipy.stats.fisher_exact does), where an expected count is below 5 (Cochran
  1954).
- McNemar's test in its exact, binomial form (McNemar 1947; Fleiss et al., ch. 13.1), for the same
  labels answered by both.
"""

import math
from typing import Final, NamedTuple

_LEAST_EXPECTED: Final = 5.0
_ROUNDING: Final = 1 + 1e-7  # tables that are as likely as the one seen, but for rounding


class Outcome(NamedTuple):
    """A test's result."""

    test: str  # its name
    p: float  # the probability of such a difference or a greater one by chance


def compare_shares(first: int, of_first: int, second: int, of_second: int) -> Outcome | None:
    """`first` of `of_first` against `second` of `of_second`; None where one is of nothing."""
    if not of_first or not of_second:
        return None
    total, hits = of_first + of_second, first + second
    expected = min(hits, total - hits) * min(of_first, of_second) / total
    if expected < _LEAST_EXPECTED:
        return Outcome("Fisher's exact test", fisher_exact(first, of_first, second, of_second))
    return Outcome("two-proportion z-test", two_proportions(first, of_first, second, of_second))


def two_proportions(first: int, of_first: int, second: int, of_second: int) -> float:
    """Two-sided p-value of the pooled z-test."""
    pooled = (first + second) / (of_first + of_second)
    variance = pooled * (1 - pooled) * (1 / of_first + 1 / of_second)
    if variance == 0:
        return 1.0
    z = (first / of_first - second / of_second) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2))


def fisher_exact(first: int, of_first: int, second: int, of_second: int) -> float:
    """Two-sided p-value, by the hypergeometric distribution of `first` under fixed margins."""
    hits = first + second
    lowest, highest = max(0, hits - of_second), min(hits, of_first)
    whole = _log_choose(of_first + of_second, hits)

    def likelihood(value: int) -> float:
        ways = _log_choose(of_first, value) + _log_choose(of_second, hits - value)
        return math.exp(ways - whole)

    seen = likelihood(first) * _ROUNDING
    found = (likelihood(value) for value in range(lowest, highest + 1))
    return min(1.0, math.fsum(one for one in found if one <= seen))


def mcnemar(only_first: int, only_second: int) -> Outcome | None:
    """Pairs that only one of the two has right: `only_first`, `only_second`. None without any."""
    pairs = only_first + only_second
    if not pairs:
        return None
    tail = sum(math.comb(pairs, n) for n in range(min(only_first, only_second) + 1))
    return Outcome("McNemar's exact test", min(1.0, 2 * tail / 2**pairs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

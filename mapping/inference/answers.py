"""From what a server says about letters to a Choice."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mapping.inference.failures import rubbish
from mapping.resolver.types import Choice

# Of an option that the server does not mention, or gives no probability at all.
FLOOR: Final = -30.0


def choice_of(
    log_probs: Mapping[str, float], letters: Sequence[str], names: Sequence[str], *, masked: bool
) -> Choice:
    """Renormalise the letters' log-probabilities over the options.

    `log_probs`: letter -> natural logarithm of its probability. `masked`: the server has left
    everything but the letters out already, so that the mass cannot be known and counts as 1.
    """
    values = [max(log_probs.get(letter, FLOOR), FLOOR) for letter in letters]
    top = max(values)
    total = top + math.log(sum(math.exp(value - top) for value in values))
    chosen = {name: value - total for name, value in zip(names, values, strict=True)}
    return Choice(chosen, 1.0 if masked else min(1.0, math.exp(total)))


def log_prob(value: Any) -> float:
    """A log-probability from a server's answer: a finite number, at most 0 but for rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise rubbish()
    number = float(value)
    if not math.isfinite(number) or number > 1e-3:
        raise rubbish()
    return min(number, 0.0)


def inside(document: Any, *path: str | int) -> Any:
    """What stands at a path of keys and positions; InferenceError if there is nothing."""
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            raise rubbish() from None
    return document


def objects(value: Any) -> list[dict[str, Any]]:
    """A list of objects; InferenceError if it is none."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise rubbish()
    return value

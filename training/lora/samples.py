"""What a question offers when it is learnt from, and the letters that are right."""

import random
from collections.abc import Sequence
from typing import Final

from mapping.resolver.prompt import LETTERS, branch
from mapping.resolver.types import NONE_OF_THESE, Prompt

_NEAR: Final = 64


def draw_options(
    ranked: Sequence[str],
    answers: Sequence[str],
    chance: random.Random,
    *,
    shortlist: int = 8,
    reach: float = 8.0,
    siblings: float = 0.5,
    without_answer: float = 0.12,
) -> list[str]:
    """A shortlist for options_for, nearest first. `ranked`: all answers, nearest first.

    `reach`: mean number of ranks by which it is shuffled. `siblings`, `without_answer`: shares, 0
    to 1, of shortlists with a label of the right one's branch, and of those without the right one.

    Right answers keep their places in the order of nearness: the branches of the first three become
    options too, so a right answer that always came first would show by its branch.
    """
    right = [name for name in answers if name != NONE_OF_THESE]
    # What is farther away would hardly be drawn.
    places = {
        name: place + chance.expovariate(1 / reach)
        for place, name in enumerate(ranked)
        if name != NONE_OF_THESE and (place < _NEAR or name in right)
    }
    branches = {branch(name) for name in right} - {""}
    near = [name for name in ranked if branch(name) in branches and name not in right]
    if near and chance.random() < siblings:
        places[chance.choice(near)] = chance.uniform(0, shortlist)
    if chance.random() < without_answer:
        for name in right:
            places.pop(name, None)
        right = []
    for name in right:  # among the options, at its own place if that is near enough
        if places[name] >= shortlist - 1:
            places[name] = chance.uniform(0, shortlist - 1)
    found = sorted(places, key=places.__getitem__)
    kept = set(right) | set([n for n in found if n not in right][: shortlist - len(right)])
    return [name for name in found if name in kept]


def right_letters(prompt: Prompt, answers: Sequence[str]) -> tuple[str, ...]:
    """Of the answers that are offered; else of their branches; else of none of these."""
    for wanted in (answers, [parent for name in answers for parent in _parents(name)]):
        found = [number for number, name in enumerate(prompt.names) if name in wanted]
        if found:
            return tuple(LETTERS[number] for number in found)
    return (LETTERS[prompt.names.index(NONE_OF_THESE)],)


def _parents(name: str) -> tuple[str, ...]:
    parent = branch(name)
    return (parent, f"{parent}.Other") if parent and parent != "OTHER" else ()

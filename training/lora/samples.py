"""Training samples: a question, a shortlist with hard negatives, and the letters that are right."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mapping.resolver.prompt import LETTERS, branch, build_prompt, options_for
from mapping.resolver.types import NONE_OF_THESE, LabelQuestion, Prompt
from training.encoder.data import Example


class Sample(NamedTuple):
    """A prompt with the letters that are right; several share the probability."""

    prompt: Prompt
    letters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How questions are varied."""

    shortlist: int = 8
    label_alone: float = 0.4  # share of questions without a description
    without_category: float = 0.5
    without_answer: float = 0.12  # share whose right label is not offered
    reach: float = 8.0  # mean rank from which negatives are taken


def draw(
    example: Example,
    pool: Sequence[str],
    taxonomy: Mapping[str, Any],
    sampling: Sampling,
    chance: random.Random,
) -> Sample:
    """One variation. `pool`: answers by nearness to the example, best first."""
    label = chance.choice((example.label, example.label, *example.aliases))
    described = bool(example.description) and chance.random() >= sampling.label_alone
    category = "" if chance.random() < sampling.without_category else example.category
    question = LabelQuestion(
        example.detector, label, example.description if described else "", category
    )
    wrong = [name for name in pool if name not in example.answers and name != NONE_OF_THESE]
    wrong.sort(key=lambda name: pool.index(name) + chance.expovariate(1 / sampling.reach))
    offered = [name for name in example.answers if name != NONE_OF_THESE]
    if chance.random() < sampling.without_answer:
        offered = []
    options = options_for([*offered, *wrong][: sampling.shortlist], taxonomy)
    prompt = build_prompt(question, options)
    return Sample(prompt, right_letters(prompt, example.answers))


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

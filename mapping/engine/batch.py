"""Maps many outputs: what no rule knows is asked together, once, for all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from mapping.engine.decisions import Decisions
from mapping.engine.engine import Engine
from mapping.engine.thresholds import Thresholds
from mapping.engine.types import DetectorOutput, HashText, MappingResult
from mapping.resolver.settle import Verdict
from mapping.resolver.types import LabelQuestion

Resolve: TypeAlias = Callable[[Sequence[LabelQuestion]], Mapping[LabelQuestion, Verdict]]


def map_all(
    engine: Engine,
    outputs: Sequence[DetectorOutput],
    hash_text: HashText,
    *,
    decisions: Decisions | None = None,
    thresholds: Thresholds | None = None,
    resolve: Resolve | None = None,
    model_first: bool = False,
) -> list[MappingResult]:
    """One result an output, in order. `resolve` is called once at most, with distinct questions.

    Outputs that leave nothing to ask are read once, the others a second time with the verdicts.
    """
    if resolve is None:
        return [engine.map(one, hash_text, decisions, thresholds) for one in outputs]
    results: list[MappingResult] = []
    again: list[int] = []
    questions: dict[LabelQuestion, None] = {}
    for number, output in enumerate(outputs):
        asked: list[LabelQuestion] = []
        results.append(
            engine.map(
                output, hash_text, decisions, thresholds, asked.append, model_first=model_first
            )
        )
        if asked:
            again.append(number)
            questions.update(dict.fromkeys(asked))
    if again:
        verdicts = resolve(list(questions))
        for number in again:
            results[number] = engine.map(
                outputs[number], hash_text, decisions, thresholds, verdicts.get,
                model_first=model_first,
            )  # fmt: skip
    return results

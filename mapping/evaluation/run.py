"""Puts the cases to a predictor, holding out what it may not know."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias, get_args

from mapping.engine.detectors import fold_name
from mapping.evaluation.cases import Case
from mapping.evaluation.lexical import LexicalPredictor
from mapping.evaluation.predictors import (
    Known,
    Names,
    NeighboursPredictor,
    Prediction,
    Predictor,
    ProposalsPredictor,
    RulesPredictor,
)

Mode: TypeAlias = Literal["hybrid", "model", "retrieval", "rules"]
HoldOut: TypeAlias = Literal["none", "detector", "vendor"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
HOLD_OUTS: Final[tuple[HoldOut, ...]] = get_args(HoldOut)

# Every predictor that needs no model, in the order of the tables.
BASELINES: Final[Mapping[str, Callable[[Known], Predictor]]] = {
    "rules": RulesPredictor,
    "neighbours": NeighboursPredictor,
    "proposals": ProposalsPredictor,
    "lexical": lambda known: LexicalPredictor(known, examples=False),
    "lexical and examples": lambda known: LexicalPredictor(known, examples=True),
}
# Those that read other detectors' files: for the rest it does not matter which are held out.
LEARNING: Final = frozenset(("neighbours", "lexical and examples"))


class ModeError(ValueError):
    """A mode cannot be used here. The message says what to do."""


def evaluate(
    predictor: Predictor,
    cases: Iterable[Case],
    known: Known,
    hold_out: HoldOut,
    *,
    descriptions: bool = True,
) -> list[Prediction]:
    """Answer every case, in order. `descriptions`: whether the vendor's words are shown."""
    hidden = _Hidden(known, hold_out)
    made = []
    for case in cases:
        question = case.question if descriptions else case.question._replace(description="")
        started = time.perf_counter()
        prediction = predictor.predict(question, hidden.of(question.detector))
        elapsed = (time.perf_counter() - started) * 1_000
        made.append(replace(prediction, latency_ms=elapsed))
    return made


class _Hidden:
    """Which files a case of a detector must not see."""

    def __init__(self, known: Known, hold_out: HoldOut) -> None:
        self._hold_out = hold_out
        self._names = {
            fold_name(name): file["detector"]
            for file in known.detectors.values()
            for name in (file["detector"], *file.get("aliases", ()))
        }
        self._vendors = {name: _vendor(file) for name, file in known.detectors.items()}

    def of(self, detector: str) -> Names:
        """Names of the files that a case of this detector must not see."""
        name = self._names.get(fold_name(detector))
        if name is None or self._hold_out == "none":
            return frozenset()
        vendor = self._vendors[name]
        if self._hold_out == "detector" or not vendor:
            return frozenset((name,))
        return frozenset(one for one, other in self._vendors.items() if other == vendor)


def _vendor(file: Mapping[str, Any]) -> str:
    return str(file.get("vendor") or "").casefold()

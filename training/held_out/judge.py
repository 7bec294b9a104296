"""Fits calibrators on held-out detectors and works out the figures on others.

The calibrator that judges is fitted on the side `validation` alone and the figures are those of the
side `test`: neither the model nor the calibrator has seen those vendors. The calibrator that is
served afterwards is fitted on both sides.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mapping.evaluation.metrics import (
    Judged,
    calibration_error,
    hit,
    macro_f1,
    macro_over,
    parent_right,
)
from mapping.evaluation.strata import STRATA, stratum
from mapping.resolver.calibrate import Calibrator, with_choice
from mapping.resolver.resolver import verdict_of
from mapping.resolver.retrieve import Array
from mapping.resolver.settle import Verdict, settle
from mapping.resolver.types import Choice, Chooser, ModelIdentity
from training.calibration.fit import Asked, fit
from training.held_out.questions import HeldOut

SEVERAL: Final = 0.9  # as in training.calibration
_TIMED: Final = 40  # questions
_LEAST_VENDORS: Final = 4


class FitError(ValueError):
    """There is too little to fit a calibrator on. The message says what to do."""


class Material(NamedTuple):
    """A side with what retrieval and the model said of it; in order."""

    asked: list[HeldOut]
    features: list[Array]
    choices: list[Choice]


class Place(NamedTuple):
    """What a calibrator is fitted for."""

    names: Sequence[str]  # answers
    encoder: str  # SHA-256
    edition: str
    identity: ModelIdentity
    data_set: str


def ask(chooser: Chooser, asked: Iterable[HeldOut]) -> tuple[list[Choice], list[float]]:
    """The choice of each question, and the milliseconds of the first ones, asked one by one."""
    choices: list[Choice] = []
    times: list[float] = []
    for one in asked:
        started = time.perf_counter()
        choices += chooser.choose([(one.question, one.options)], salt="held out")
        if len(times) < _TIMED:
            times.append((time.perf_counter() - started) * 1000)
    return choices, times


def calibrator_of(place: Place, *sides: Material, model: bool = True) -> Calibrator:
    """Fitted on these sides; `model=False`: for retrieval alone. Raises FitError."""
    described = _asked(place, sides, described=True, model=model)
    bare = _asked(place, sides, described=False, model=model)
    for which, kind in (("with", described), ("without", bare)):
        if len({one.group for one in kind}) < _LEAST_VENDORS:
            raise FitError(
                f"There are labels {which} a description of fewer than {_LEAST_VENDORS} vendors "
                "among the held-out ones: too few for a calibrator. Hold more detectors out."
            )
    return Calibrator(
        encoder=place.encoder,
        edition=place.edition,
        identity=place.identity if model else None,
        described=fit(described, list(place.names)),
        bare=fit(bare, list(place.names)),
        several=SEVERAL,
        dataset=place.data_set,
    )


def _asked(place: Place, sides: Iterable[Material], *, described: bool, model: bool) -> list[Asked]:
    found = []
    for side in sides:
        for one, values, choice in zip(*side, strict=True):
            if bool(one.question.description) is described:
                features = with_choice(values, place.names, choice) if model else values
                found.append(Asked(one.vendor, features, choice if model else None, one.right))
    return found


def figures(
    place: Place,
    side: Material,
    calibrator: Calibrator,
    labels: Mapping[str, Any],
    threshold: float,
) -> dict[str, Any]:
    """Of a side: described, label alone, by detector, by stratum. JSON."""
    settled = [
        _Answer.of(place, one, values, choice, calibrator, labels, threshold)
        for one, values, choice in zip(*side, strict=True)
    ]
    kinds = {
        "described": [one for one in settled if one.asked.question.description],
        "label_alone": [one for one in settled if not one.asked.question.description],
    }
    detectors = sorted({one.asked.detector for one in settled})
    return {
        "rows": len(settled),
        "rows_by_kind": {name: len(kind) for name, kind in kinds.items()},
        **{name: _summary(kind) for name, kind in kinds.items()},
        "by_detector": {
            name: _shares([one for one in settled if one.asked.detector == name])
            for name in detectors
        },
        "strata": {
            name: _shares(kind)
            for name in STRATA
            if (kind := [one for one in settled if one.stratum == name])
        },
    }


class _Answer(NamedTuple):
    """A question with what would be answered."""

    asked: HeldOut
    verdict: Verdict
    handed_over: bool  # to a person, at the threshold
    answered_right: bool  # at the threshold
    model_alone: bool  # whether the likeliest letter is right

    @classmethod
    def of(
        cls,
        place: Place,
        asked: HeldOut,
        values: Array,
        choice: Choice,
        calibrator: Calibrator,
        labels: Mapping[str, Any],
        threshold: float,
    ) -> "_Answer":
        model = choice if calibrator.identity is not None else None
        described = bool(asked.question.description)
        verdict = verdict_of(place.names, values, model, calibrator, described)
        done = settle(verdict, lambda _label: threshold, labels)
        best = max(choice.log_probs, key=choice.log_probs.__getitem__)
        return cls(
            asked,
            verdict,
            not done.labels,
            bool(done.labels) and done.labels[0] in asked.right,
            best in asked.right,
        )

    @property
    def right(self) -> bool:
        """Whether the likeliest answer is, whatever its confidence."""
        return self.verdict.labels[0] in self.asked.right

    @property
    def parent(self) -> bool:
        """Whether its branch is."""
        return parent_right(self.verdict.labels, self.asked.right)

    @property
    def stratum(self) -> str:
        """See mapping.evaluation.strata."""
        return stratum(self.asked.question.label, self.asked.right)


def _summary(answers: Sequence[_Answer]) -> dict[str, Any]:
    """Always answering, unless it says otherwise; intervals over detectors (metrics.macro_over)."""
    by_detector: dict[str, list[_Answer]] = {}
    for one in answers:
        by_detector.setdefault(one.asked.detector, []).append(one)
    judged = [Judged(one.verdict.confidence, one.right) for one in answers]
    kept = [one for one in answers if not one.handed_over]
    pairs = [(one.verdict.labels, one.asked.right) for one in answers]
    rankings = [([name for name, _ in one.verdict.candidates], one.asked.right) for one in answers]
    groups = by_detector.items()
    accepted = macro_over({name: [one.right for one in group] for name, group in groups})
    parent = macro_over({name: [one.parent for one in group] for name, group in groups})
    count = max(len(answers), 1)
    return {
        "accepted": sum(one.right for one in answers) / count,
        "parent": sum(one.parent for one in answers) / count,
        "hit_at_5": sum(hit(ranking, right) for ranking, right in rankings) / count,
        "micro_f1": _micro_f1(pairs),
        "macro_f1": macro_f1(pairs),
        "ece": calibration_error(judged),
        "model_alone": sum(one.model_alone for one in answers) / count,
        "abstained": 1 - len(kept) / count,
        "accepted_of_answered": sum(one.answered_right for one in kept) / max(len(kept), 1),
        "accepted_by_detector": accepted.mean,
        "parent_by_detector": parent.mean,
        "intervals": {
            "accepted_by_detector": [accepted.low, accepted.high],
            "parent_by_detector": [parent.low, parent.high],
        },
    }


def _micro_f1(pairs: Iterable[tuple[Sequence[str], frozenset[str]]]) -> float:
    """F1 over all labels of all answers together: 2 TP / (answered + expected)."""
    hits = total = 0
    for labels, right in pairs:
        hits += len(set(labels) & right)
        total += len(set(labels)) + len(right)
    return 2 * hits / total if total else 0.0


def _shares(answers: Sequence[_Answer]) -> dict[str, Any]:
    count = len(answers)
    return {
        "rows": count,
        "accepted": sum(one.right for one in answers) / count,
        "parent": sum(one.parent for one in answers) / count,
    }

"""The figures of predictions beside the answers, as JSON and as tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mapping.evaluation import metrics
from mapping.evaluation.cases import UNMAPPED, Case
from mapping.evaluation.predictors import Prediction
from mapping.evaluation.strata import STRATA, stratum

_Pair = tuple[Case, Prediction]


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares are 0 to 1; definitions: mapping.evaluation.metrics. None: cannot be said."""

    cases: int
    exact: float
    accepted: float
    hit5: float
    parent: float
    macro_f1: float
    detectors: metrics.Interval  # mean over detectors of `accepted`
    coverage: float
    answered_accuracy: float | None  # `accepted` of the cases that were answered
    selective90: float | None
    aurc: float | None
    ece: float | None
    brier: float | None

    @classmethod
    def of(cls, pairs: Sequence[_Pair]) -> Self:
        """Of at least one case. An abstention is the answer `unmapped`: right where expected."""
        answers = [(case, answer_of(prediction)) for case, prediction in pairs]
        right = [metrics.accepted(labels, case.right) for case, labels in answers]
        groups: dict[str, list[bool]] = {}
        for (case, _), good in zip(pairs, right, strict=True):
            groups.setdefault(case.question.detector, []).append(good)
        judged = [
            metrics.Judged(prediction.confidence, good, not prediction.abstained)
            for (_, prediction), good in zip(pairs, right, strict=True)
        ]
        answered = [item.right for item in judged if item.answered]
        return cls(
            cases=len(pairs),
            exact=_mean([metrics.exact(labels, case.expected) for case, labels in answers]),
            accepted=_mean(right),
            hit5=_mean([metrics.hit(_ranking(p), case.right) for case, p in pairs]),
            parent=_mean([metrics.parent_right(labels, case.right) for case, labels in answers]),
            macro_f1=metrics.macro_f1((labels, case.expected) for case, labels in answers),
            detectors=metrics.macro_over(groups),
            coverage=metrics.coverage(judged),
            answered_accuracy=_mean(answered) if answered else None,
            selective90=metrics.selective_accuracy(judged),
            aurc=metrics.aurc(judged),
            ece=metrics.calibration_error(judged),
            brier=metrics.brier(judged),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = [name for name in self.__dataclass_fields__ if name != "detectors"]
        return {name: getattr(self, name) for name in names} | {
            "macro_over_detectors": self.detectors._asdict()
        }


def answer_of(prediction: Prediction) -> tuple[str, ...]:
    """The labels that were answered; `unmapped` for an abstention."""
    return (UNMAPPED,) if prediction.abstained else prediction.labels


def _ranking(prediction: Prediction) -> list[str]:
    """What was ranked first to fifth; abstaining puts `unmapped` first."""
    ranked = [label for label, _ in prediction.top5]
    return [UNMAPPED, *ranked] if prediction.abstained else ranked


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of all cases, and of those of each stratum that has any."""

    overall: Figures
    strata: Mapping[str, Figures]
    detectors: Mapping[str, tuple[int, float]]  # cases, accepted
    latency_ms: tuple[float, float]  # 50th and 95th percentile, of this machine at this time

    @classmethod
    def of(cls, cases: Sequence[Case], predictions: Sequence[Prediction]) -> Self:
        """`predictions` in the order of the cases, of which there is at least one."""
        pairs = list(zip(cases, predictions, strict=True))
        by_stratum: dict[str, list[_Pair]] = {}
        by_detector: dict[str, list[bool]] = {}
        for case, prediction in pairs:
            kind = stratum(case.question.output, case.expected)
            by_stratum.setdefault(kind, []).append((case, prediction))
            good = metrics.accepted(answer_of(prediction), case.right)
            by_detector.setdefault(case.question.detector, []).append(good)
        times = sorted(prediction.latency_ms for prediction in predictions)
        return cls(
            overall=Figures.of(pairs),
            strata={name: Figures.of(by_stratum[name]) for name in STRATA if name in by_stratum},
            detectors={name: (len(x), _mean(x)) for name, x in sorted(by_detector.items())},
            latency_ms=(_percentile(times, 0.5), _percentile(times, 0.95)),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "overall": self.overall.as_dict(),
            "strata": {name: figures.as_dict() for name, figures in self.strata.items()},
            "detectors": {
                name: {"cases": cases, "accepted": share}
                for name, (cases, share) in self.detectors.items()
            },
            "latency_ms": {"p50": self.latency_ms[0], "p95": self.latency_ms[1]},
        }


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def main_table(rows: Iterable[tuple[str, Figures]]) -> str:
    """A row for each predictor; percentages, but AURC, ECE and Brier as they are."""
    lines = [
        "| predictor | accepted | exact | hit@5 | parent | macro-F1 | by detector [95 %] "
        "| coverage | right if answered | at 90 % coverage | AURC | ECE | Brier |",
        "|" + "---|" * 13,
    ]
    for name, one in rows:
        mean, low, high = (f"{100 * value:.1f}" for value in one.detectors)
        cells = [
            *map(_percent, (one.accepted, one.exact, one.hit5, one.parent, one.macro_f1)),
            f"{mean} [{low}, {high}]",
            *map(_percent, (one.coverage, one.answered_accuracy, one.selective90)),
            *map(_number, (one.aurc, one.ece, one.brier)),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def strata_table(rows: Iterable[tuple[str, Report]]) -> str:
    """Accepted top-1, and hit@5 after the stroke, of each stratum by predictor."""
    rows = list(rows)
    names = [name for name in STRATA if any(name in report.strata for _, report in rows)]
    sizes = [next(r.strata[name].cases for _, r in rows if name in r.strata) for name in names]
    heads = (f"{name} ({size})" for name, size in zip(names, sizes, strict=True))
    lines = [f"| predictor | {' | '.join(heads)} |", "|" + "---|" * (len(names) + 1)]
    for predictor, report in rows:
        cells = (
            f"{_percent(report.strata[name].accepted)} / {_percent(report.strata[name].hit5)}"
            for name in names
        )
        lines.append(f"| {predictor} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

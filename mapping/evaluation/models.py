"""Predictors with a model: of held-out detectors (UnseenPredictor), and as it is served.

For a held-out detector, encoder and model are those of the fold that had not seen it (see folds);
the calibrator is one of `PARTS`, fitted on the detectors of other vendors.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import numpy as np

from mapping.evaluation.cases import Question
from mapping.evaluation.folds import Folds
from mapping.evaluation.predictors import Known, Names, Prediction, source_labels
from mapping.resolver.calibrate import Calibrator
from mapping.resolver.prompt import build_prompt, options_for
from mapping.resolver.resolver import Resolver, verdict_of
from mapping.resolver.retrieve import Array, Retriever, known_labels
from mapping.resolver.settle import Settled, Verdict, settle
from mapping.resolver.types import Choice, LabelQuestion, Option
from taxonomy.agreement import of_entry

PARTS: Final = 10


def part_of(group: str) -> int:
    """Which of the PARTS a vendor, or a detector without one, belongs to."""
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % PARTS


def group_of(known: Known, detector: str) -> str:
    """The vendor in small letters, or else the detector."""
    file = known.detectors.get(detector)
    return str((file or {}).get("vendor") or "").casefold() or detector


def questions_of(question: Question) -> list[LabelQuestion]:
    """A question for each source label; a description counts only where there is one label."""
    labels = source_labels(question.output)
    description = question.description if len(labels) == 1 else ""
    return [
        LabelQuestion(question.detector, label, description, question.category or "")
        for label in labels
    ]


def prediction_of(question: Question, settled: Sequence[Settled]) -> Prediction:
    """What the settled labels of one output amount to."""
    answered = [one for one in settled if one.labels]
    scores: dict[str, float] = {}
    for one in settled:
        for name, share in one.candidates:
            scores[name] = max(share, scores.get(name, 0.0))
    labels = tuple(dict.fromkeys(label for one in answered for label in one.labels))
    others = sorted((name for name in scores if name not in labels), key=lambda n: -scores[n])
    ranking = [(name, scores.get(name, 0.0)) for name in (*labels, *others)][:5]
    confidence = min((one.confidence for one in answered or settled), default=0.0)
    method = answered[0].method if answered else "none"
    return Prediction(
        question.id, labels, confidence, method, tuple(ranking), abstained=not answered
    )


class ResolverPredictor:
    """The shipped encoder, model and calibrator, for files of cases.

    The files that a case must not see are not held out of what they were trained on: for detectors
    without a file that is no matter.
    """

    def __init__(
        self,
        resolver: Resolver,
        labels: Collection[str],
        *,
        threshold: Callable[[str], float] = lambda _label: 0.6,
        forced: bool = False,
    ) -> None:
        self._resolver = resolver
        self._labels = labels
        self._threshold = threshold
        self._forced = forced

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        asked = questions_of(question)
        verdicts = self._resolver.resolve(asked)
        return prediction_of(
            question,
            [
                forced(verdicts[one])
                if self._forced
                else settle(verdicts[one], self._threshold, self._labels)
                for one in asked
            ],
        )


def forced(verdict: Verdict) -> Settled:
    """The likeliest label, whatever its confidence."""
    return Settled("accept", verdict.labels, verdict.confidence, verdict.method, verdict.candidates)


class UnseenPredictor:
    """Retrieval, with a model if `letters` is given, where nobody has seen the detector."""

    def __init__(
        self,
        known: Known,
        folds: Folds,
        calibrators: Mapping[int, Calibrator],
        *,
        protocol: str = "detector",
        letters: str | None = None,
        threshold: Callable[[str], float] = lambda _label: 0.6,
        forced: bool = False,
    ) -> None:
        """`letters` names the model's scores. `forced`: the likeliest label is always answered."""
        self._known = known
        self._folds = folds
        self._calibrators = calibrators
        self._protocol = protocol
        self._letters = letters
        self._threshold = threshold
        self._forced = forced
        self._retriever = Retriever(
            known.taxonomy, known_labels(known.detectors.values(), of_entry), None
        )

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        found = [self._settle(question, one, held_out) for one in questions_of(question)]
        return prediction_of(question, found)

    def features(self, question: Question, asked: LabelQuestion, held_out: Names) -> Array:
        """As of the resolver, the encoder's by the fold that had not seen the detector."""
        values = self._retriever.features(asked, held_out)
        values[:, 0] = self._folds.of(f"{self._protocol}_cosines", question)
        values[:, 1] = self._folds.of(f"{self._protocol}_neighbours", question).clip(min=0)
        return values

    def verdict(self, question: Question, asked: LabelQuestion, held_out: Names) -> Verdict:
        """What is made of it before thresholds."""
        part = part_of(group_of(self._known, question.detector))
        values = self.features(question, asked, held_out)
        described = bool(asked.description)
        names = self._retriever.names
        choice = self._choice(question, asked) if self._letters else None
        return verdict_of(names, values, choice, self._calibrators[part], described)

    def _choice(self, question: Question, asked: LabelQuestion) -> Choice:
        numbers = self._folds.of("shortlists", question)
        names = [self._retriever.names[int(number)] for number in numbers]
        options = options_for(names, self._known.taxonomy)
        return choice_of(asked, options, self._folds.of(str(self._letters), question))

    def _settle(self, question: Question, asked: LabelQuestion, held_out: Names) -> Settled:
        verdict = self.verdict(question, asked, held_out)
        if self._forced:
            return forced(verdict)
        return settle(verdict, self._threshold, self._known.taxonomy["labels"])


def choice_of(asked: LabelQuestion, options: Sequence[Option], letters: Array) -> Choice:
    """From the letters' log-probabilities in the model's whole vocabulary, by place."""
    names = build_prompt(asked, options).names
    values = letters[: len(names)].astype(np.float64)
    total = float(np.logaddexp.reduce(values))
    log_probs = {name: float(value) - total for name, value in zip(names, values, strict=True)}
    return Choice(log_probs, min(1.0, float(np.exp(total))))

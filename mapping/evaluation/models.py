"""Predictors with a model: of held-out detectors (UnseenPredictor), and as it is served.

For a held-out detector, encoder and model are those of the fold that had not seen it (see folds);
the calibrator is one of `PARTS`, fitted on the detectors of other vendors.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import numpy as np

from mapping.evaluation.cases import Question
from mapping.evaluation.folds import Folds, FoldsError
from mapping.evaluation.predictors import Known, Names, Prediction, source_labels
from mapping.resolver.calibrate import Calibrator
from mapping.resolver.glossary import Glossary
from mapping.resolver.prompt import build_prompt, options_for
from mapping.resolver.resolver import Resolver, shortlist, verdict_of
from mapping.resolver.retrieve import Array, Retriever, known_labels
from mapping.resolver.settle import Settled, Verdict, settle
from mapping.resolver.types import (
    NONE_OF_THESE,
    Choice,
    Chooser,
    ChooserError,
    LabelQuestion,
    Option,
)
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
    return Settled(
        "accept", verdict.labels, verdict.confidence, verdict.method, verdict.candidates,
        verdict.by,
    )  # fmt: skip


class Unseen:
    """What the predictors below share: the scores of the folds, and features worked out once."""

    def __init__(self, known: Known, folds: Folds, glossary: Glossary) -> None:
        self.known = known
        self.folds = folds
        self.retriever = Retriever(
            known.taxonomy, known_labels(known.detectors.values(), of_entry), None, glossary
        )
        if self.retriever.names != folds.names:
            raise FoldsError(
                "The taxonomy has other labels than the models were scored on. Train and score "
                "anew: `python -m training.encoder`."
            )
        self._features: dict[tuple[LabelQuestion, Names], Array] = {}

    def lexical(self, asked: LabelQuestion, held_out: Names) -> Array:
        """Features without those of an encoder. Not to be changed."""
        key = (asked, held_out)
        if key not in self._features:
            self._features[key] = self.retriever.features(asked, held_out)
        return self._features[key]

    def features(
        self, question: Question, asked: LabelQuestion, held_out: Names, protocol: str
    ) -> Array:
        """As of the resolver, the encoder's by the fold that had not seen the detector."""
        values = self.lexical(asked, held_out).copy()
        values[:, 0] = self.folds.of(f"{protocol}_cosines", question)
        values[:, 1] = self.folds.of(f"{protocol}_neighbours", question).clip(min=0)
        return values

    def choice(self, question: Question, asked: LabelQuestion, letters: str) -> Choice:
        """What the model said; `letters`: `letters` (adapter of the fold) or `zero_shot`."""
        numbers = self.folds.of("shortlists", question)
        names = [self.retriever.names[int(number)] for number in numbers]
        options = options_for(names, self.known.taxonomy)
        return choice_of(asked, options, self.folds.of(letters, question))


class UnseenPredictor:
    """Retrieval, with a model if `letters` is given, where nobody has seen the detector."""

    def __init__(
        self,
        shared: Unseen,
        calibrators: Mapping[int, Calibrator],
        *,
        protocol: str = "detector",
        letters: str = "",
        threshold: Callable[[str], float] = lambda _label: 0.6,
        forced: bool = False,
    ) -> None:
        """`letters` names the model's scores. `forced`: the likeliest label is always answered."""
        self._shared = shared
        self._calibrators = calibrators
        self._protocol = protocol
        self._letters = letters
        self._threshold = threshold
        self._forced = forced

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        found = [self._settle(question, one, held_out) for one in questions_of(question)]
        return prediction_of(question, found)

    def _settle(self, question: Question, asked: LabelQuestion, held_out: Names) -> Settled:
        shared = self._shared
        calibrator = self._calibrators[part_of(group_of(shared.known, question.detector))]
        values = shared.features(question, asked, held_out, self._protocol)
        choice = shared.choice(question, asked, self._letters) if self._letters else None
        names = shared.retriever.names
        verdict = verdict_of(names, values, choice, calibrator, bool(asked.description))
        if self._forced:
            return forced(verdict)
        return settle(verdict, self._threshold, shared.known.taxonomy["labels"])


class NearestPredictor:
    """The published encoder, tuned on nothing, by cosine; `lexical`: TF-IDF's cosine added."""

    def __init__(self, shared: Unseen, *, lexical: bool) -> None:
        self._shared = shared
        self._lexical = lexical

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor. Reads the taxonomy's texts alone."""
        asked = questions_of(question)[:1]
        if not asked:
            return Prediction(question.id)
        scores = self._shared.folds.of("untrained_cosines", question)
        if self._lexical:
            scores = (scores + self._shared.lexical(asked[0], held_out)[:, 2]) / 2
        order = np.argsort(-scores, kind="stable")[:5]
        ranking = tuple(
            (self._shared.retriever.names[int(n)], float(max(scores[n], 0.0))) for n in order
        )
        return answered(question, ranking, "encoder")


class LettersPredictor:
    """The model alone: the likeliest letter of its shortlist. Confidence as the model states it."""

    def __init__(self, shared: Unseen, letters: str) -> None:
        self._shared = shared
        self._letters = letters

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        asked = questions_of(question)[:1]
        if not asked:
            return Prediction(question.id)
        choice = self._shared.choice(question, asked[0], self._letters)
        return answered(question, ranking_of(choice), "model")


class AskedPredictor:
    """The model that is served, alone: the likeliest letter of its shortlist, as it states it."""

    def __init__(self, known: Known, retriever: Retriever, chooser: Chooser) -> None:
        self._known = known
        self._retriever = retriever
        self._chooser = chooser

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor. Abstains where the model's server gives no answer."""
        asked = questions_of(question)[:1]
        if not asked:
            return Prediction(question.id)
        features = self._retriever.features(asked[0], held_out)
        names = shortlist(self._retriever.names, features)
        try:
            choice = self._chooser.choose(
                [(asked[0], options_for(names, self._known.taxonomy))], salt=""
            )[0]
        except ChooserError:
            return Prediction(question.id)
        return answered(question, ranking_of(choice), "model")


def ranking_of(choice: Choice) -> tuple[tuple[str, float], ...]:
    """The five likeliest answers with their probabilities in the model's whole vocabulary."""
    best = sorted(choice.log_probs, key=lambda name: -choice.log_probs[name])[:5]
    return tuple((name, float(np.exp(choice.log_probs[name])) * choice.mass) for name in best)


def answered(question: Question, ranking: tuple[tuple[str, float], ...], method: str) -> Prediction:
    """The first of a ranking as the answer; none of these is an abstention."""
    name, confidence = ranking[0]
    if name == NONE_OF_THESE:
        return Prediction(question.id, top5=ranking)
    return Prediction(question.id, (name,), confidence, method, ranking, abstained=False)


def choice_of(asked: LabelQuestion, options: Sequence[Option], letters: Array) -> Choice:
    """From the letters' log-probabilities in the model's whole vocabulary, by place."""
    names = build_prompt(asked, options).names
    values = letters[: len(names)].astype(np.float64)
    total = float(np.logaddexp.reduce(values))
    log_probs = {name: float(value) - total for name, value in zip(names, values, strict=True)}
    return Choice(log_probs, min(1.0, float(np.exp(total))))

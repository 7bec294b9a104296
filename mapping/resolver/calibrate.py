"""From likenesses to probabilities: which label, and how surely it is right.

Two steps, both fitted on labels of detectors that the models had not seen (training.calibration):

1. The features of every answer are weighted and pass a soft-max: a conditional logit model
   (McFadden 1974), whose probabilities sum to 1 over all answers.
2. What the first answer's probability is worth is corrected by a logistic regression on it and on
   signs of doubt (Platt 1999 with further features), once for the label and once for its branch.

A calibrator fits one encoder, one edition and one model; with another one it is refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from mapping.resolver.prompt import branch
from mapping.resolver.retrieve import FEATURES
from mapping.resolver.types import NONE_OF_THESE, Choice, ModelIdentity

Array = np.ndarray[Any, Any]
CHOOSER_FEATURES: Final = ("log-probability by the model", "offered to the model")
SIGNS: Final = (
    "log-odds of the first answer",
    "its log-probability less that of the second",
    "highest cosine of all answers",
    "the nearest text is the first answer's",
    "the nearest example is the first answer's",
    "probability that the model gave to any option",
    "the model's first option is the first answer",
    "always 1",
)
_FLOOR: Final = -10.0  # log-probability of what the model was not offered


class CalibratorError(ValueError):
    """The calibrator cannot be used. The message says for which model it was made."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Fitted numbers for questions of one kind (with or without a description)."""

    features: tuple[float, ...]  # of FEATURES, then CHOOSER_FEATURES if a model is asked
    label: tuple[float, ...]  # of SIGNS, for "the label is right"
    branch: tuple[float, ...]  # of SIGNS, for "its branch is right"
    # Conformal: the least probability of an answer that belongs into the set for review.
    least: float


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Immutable; read it from its file with `load`."""

    encoder: str  # see artifacts.digest_of
    edition: str
    identity: ModelIdentity | None  # None: for answers of retrieval alone
    described: Weights
    bare: Weights
    several: float  # a further label needs this share of the first one's probability
    dataset: str  # digest of the labels that it was fitted on

    @property
    def version(self) -> str:
        """Short name, the same for the same numbers."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def load(cls, path: Path) -> Self:
        """From JSON. Raises CalibratorError if the file does not hold one."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _no_calibrator(path.name, error) from None
        return cls.of(content, path.name)

    @classmethod
    def of(cls, content: Any, name: str = "The document") -> Self:
        """From a parsed file; `name` stands in the CalibratorError if it holds none."""
        try:
            identity = content["identity"]
            found = cls(
                encoder=str(content["encoder"]),
                edition=str(content["edition"]),
                identity=ModelIdentity(**identity) if identity else None,
                described=_weights(content["described"]),
                bare=_weights(content["bare"]),
                several=float(content["several"]),
                dataset=str(content["dataset"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_calibrator(name, error) from None
        found._check_shape(name)
        return found

    def _check_shape(self, name: str) -> None:
        features = len(FEATURES) + (len(CHOOSER_FEATURES) if self.identity else 0)
        for kind in (self.described, self.bare):
            if (len(kind.features), len(kind.label), len(kind.branch)) != (
                features, len(SIGNS), len(SIGNS),
            ):  # fmt: skip
                raise CalibratorError(f"{name} was made for other features. Fit it anew.")
            numbers = (*kind.features, *kind.label, *kind.branch, kind.least, self.several)
            if not all(map(math.isfinite, numbers)):
                raise CalibratorError(f"{name} holds numbers that are none. Fit it anew.")

    def save(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def check(self, *, encoder: str, edition: str, identity: ModelIdentity | None) -> None:
        """Raises CalibratorError if it was fitted for another encoder, edition or model."""
        for what, mine, other in (
            ("encoder", self.encoder, encoder),
            ("taxonomy", month_of(self.edition), month_of(edition)),
            ("model", self.identity, identity),
        ):
            if mine != other:
                raise CalibratorError(
                    f"The calibrator was fitted for another {what}: its confidences would mean "
                    "nothing. Fit one for this combination, or serve what it was made for."
                )

    def weights(self, described: bool) -> Weights:
        """Those for questions with or without a description."""
        return self.described if described else self.bare


def _no_calibrator(name: str, error: Exception) -> CalibratorError:
    return CalibratorError(
        f"{name} holds no calibrator ({type(error).__name__}): fit one with "
        "`python -m training.calibration`."
    )


def _weights(content: Mapping[str, Any]) -> Weights:
    features, label, parent = (
        tuple(map(float, content[name])) for name in ("features", "label", "branch")
    )
    return Weights(features, label, parent, float(content["least"]))


def month_of(edition: str) -> str:
    """2026.11 for 2026.11.3: further editions of a month differ in few labels.

    The features know no label by name, so a calibrator stays good for them.
    """
    return ".".join(edition.split(".")[:2])


def with_choice(features: Array, names: Sequence[str], choice: Choice) -> Array:
    """Features with the model's two added: answers x (FEATURES + CHOOSER_FEATURES).

    What was not offered gets the probability of its branch, or else of "none of these", less a bit.
    """
    none = choice.log_probs.get(NONE_OF_THESE, _FLOOR)
    added = np.zeros((len(names), 2), dtype=np.float32)
    for number, name in enumerate(names):
        if name in choice.log_probs:
            added[number] = (max(choice.log_probs[name], _FLOOR), 1.0)
        else:
            told = choice.log_probs.get(branch(name), none)
            added[number, 0] = max(told - 2.0, _FLOOR)
    return np.concatenate([features, added], axis=1)


def posterior(features: Array, weights: Sequence[float]) -> Array:
    """Probability of every answer; they sum to 1."""
    scores = features.astype(np.float64) @ np.asarray(weights, dtype=np.float64)
    grown = np.exp(scores - scores.max())
    found: Array = grown / grown.sum()
    return found


def signs(
    features: Array,
    probabilities: Array,
    chosen: float,
    choice: Choice | None,
    names: Sequence[str],
) -> Array:
    """SIGNS of one answer. `chosen`: the probability whose worth is asked for."""
    order = np.argsort(-probabilities, kind="stable")
    first, second = int(order[0]), int(order[1])
    best = None if choice is None else max(choice.log_probs, key=choice.log_probs.__getitem__)
    return np.array(
        [
            log_odds(chosen),
            min(math.log(max(probabilities[first], 1e-9) / max(probabilities[second], 1e-9)), 10.0),
            float(features[:, 0].max()),
            float(int(features[:, 0].argmax()) == first),
            float(int(features[:, 1].argmax()) == first),
            0.0 if choice is None else choice.mass,
            float(best == names[first]),
            1.0,
        ]
    )


def log_odds(probability: float) -> float:
    """Kept within +-8, so that certainty stays finite."""
    limited = min(max(probability, 3.4e-4), 1 - 3.4e-4)
    return math.log(limited / (1 - limited))


def worth(values: Array, weights: Sequence[float]) -> float:
    """Logistic function of the weighted signs."""
    return 1.0 / (1.0 + math.exp(-float(np.dot(values, np.asarray(weights)))))


def by_branch(names: Sequence[str], probabilities: Array) -> dict[str, float]:
    """Probability of each branch; an answer that is no label, or an outcome, is its own branch."""
    found: dict[str, float] = {}
    for name, share in zip(names, probabilities, strict=True):
        key = branch_of(name)
        found[key] = found.get(key, 0.0) + float(share)
    return found


def branch_of(name: str) -> str:
    """The branch that a label stands on; outcomes and answers that are no label stand alone."""
    return name if name.startswith("OTHER.") or "." not in name else branch(name)

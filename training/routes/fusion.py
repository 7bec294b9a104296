"""Routes' scores as probabilities, each fold's fitted on the other folds: never on what is scored.

Alone, a route gets one number, the temperature of its soft-max, so its order is its own. Fused,
features of all answers are weighted by a conditional logit (training.calibration.fit), as the
service's calibrator does.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from mapping.resolver.calibrate import posterior
from training.calibration.fit import Asked, conditional_logit
from training.routes.base import Array

_FLOOR: Final = -10.0  # log-probability of what a route was not asked about
_SCALES: Final = np.geomspace(0.02, 50.0, 80)


def alone(scores: Array, right: Array, folds: Array) -> Array:
    """Probabilities: questions x answers. `scores` NaN where not scored: probability 0."""
    kept = np.where(np.isnan(scores), -np.inf, scores.astype(np.float64))
    kept -= kept.max(axis=1, keepdims=True)
    gains = np.stack([_gain(_soft(kept * scale), right) for scale in _SCALES], axis=1)
    found = np.zeros_like(kept)
    for fold in np.unique(folds):
        others = folds != fold
        scale = _SCALES[int(gains[others].mean(axis=0).argmax())] if others.any() else 1.0
        found[~others] = _soft(kept[~others] * scale)
    return found


def _gain(shares: Array, right: Array) -> Array:
    return np.log(np.maximum((shares * right).sum(axis=1), 1e-6))


def _soft(scores: Array) -> Array:
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Array = grown / grown.sum(axis=1, keepdims=True)
    return found


def features_of(scores: Array) -> Array:
    """Of a route: log-probability among what it was asked about, and whether it was asked."""
    there = ~np.isnan(scores)
    kept = np.where(there, scores.astype(np.float64), -np.inf)
    with np.errstate(divide="ignore"):
        told = np.log(_soft(kept))
    told = np.maximum(told, _FLOOR).astype(np.float32)
    if there.all():
        return told[..., None]
    return np.stack([told, there.astype(np.float32)], axis=-1)


def fused(
    features: Array, right: Array, folds: Array, groups: Sequence[str], names: Sequence[str]
) -> Array:
    """Probabilities: questions x answers. `features`: questions x answers x features.

    The first feature should be one whose weight is large and positive: cosines. `groups`: the
    vendor of each question; large ones count less for each label. ValueError with one fold alone.
    """
    if len(np.unique(folds)) < 2:
        raise ValueError("Weights are fitted on other folds: there is only one.")
    asked = [
        Asked(group, values, None, frozenset(np.array(names)[good].tolist()))
        for group, values, good in zip(groups, features, right, strict=True)
    ]
    found = np.zeros(right.shape)
    for fold in np.unique(folds):
        weights = conditional_logit(
            [one for one, other in zip(asked, folds, strict=True) if other != fold], names
        )
        for row in np.flatnonzero(folds == fold):
            found[row] = posterior(features[row], weights.tolist())
    return found

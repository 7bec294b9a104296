"""Fits what mapping.resolver.calibrate applies: conditional logit, then logistic regression."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from mapping.evaluation.models import part_of
from mapping.resolver.calibrate import (
    SIGNS,
    Array,
    Weights,
    branch_of,
    by_branch,
    posterior,
    signs,
    worth,
)
from mapping.resolver.types import Choice

_RIDGE = 1e-3
COVERAGE = 0.9  # of the conformal sets


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that has been answered: what was seen, and what is right."""

    group: str  # all of a group are held out together: the vendor, or else the detector
    features: Array  # answers x features
    choice: Choice | None
    right: frozenset[str]


def fit(asked: Sequence[Asked], names: Sequence[str]) -> Weights:
    """Weights for these questions. Step two sees posteriors of step one on groups left out."""
    features = conditional_logit(asked, names)
    honest = out_of_group(asked, lambda others: conditional_logit(others, names))
    posteriors = [
        posterior(one.features, weights) for one, weights in zip(asked, honest, strict=True)
    ]
    label, parent = _worths(asked, posteriors, names)
    scores = sorted(
        max(float(p[number]) for number, name in enumerate(names) if name in one.right)
        for one, p in zip(asked, posteriors, strict=True)
    )
    # Split conformal prediction with the score 1 - p of the right answer (LAC, Sadinle et al.
    # 2019): the rank that covers at least COVERAGE of exchangeable cases.
    rank = max(0, int(np.floor((1 - COVERAGE) * (len(scores) + 1))) - 1)
    return Weights(tuple(map(float, features)), tuple(label), tuple(parent), scores[rank])


def out_of_group(asked: Sequence[Asked], make: Callable[[list[Asked]], Any]) -> list[Any]:
    """For each question what `make` makes of the questions of other groups."""
    parts = {part_of(one.group) for one in asked}
    made = {
        part: make([one for one in asked if part_of(one.group) != part]) for part in sorted(parts)
    }
    return [made[part_of(one.group)] for one in asked]


def conditional_logit(asked: Sequence[Asked], names: Sequence[str]) -> Array:
    """Weights of the features that make the right answers most likely."""
    values = np.stack([one.features for one in asked]).astype(np.float32)
    flat = values.reshape(-1, values.shape[2])
    right = np.array([[name in one.right for name in names] for one in asked])
    weight = weights_of(asked)

    def loss(weights: Array) -> tuple[float, Array]:
        scores = (flat @ weights.astype(np.float32)).reshape(right.shape).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        grown = np.exp(scores)
        shares = grown / grown.sum(axis=1, keepdims=True)
        good = np.maximum((shares * right).sum(axis=1), 1e-12)
        pull = shares * right / good[:, None] - shares
        gradient = -(pull * weight[:, None]).astype(np.float32).ravel() @ flat
        total = -float(weight @ np.log(good))
        return total + _RIDGE * float(weights @ weights), gradient + 2 * _RIDGE * weights

    start = np.zeros(values.shape[2])
    start[0] = 10.0
    found: Array = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return found


def weights_of(asked: Sequence[Asked]) -> Array:
    """A large detector does not count for many: as in training, by the root of its size."""
    sizes: dict[str, int] = {}
    for one in asked:
        sizes[one.group] = sizes.get(one.group, 0) + 1
    found = np.array([sizes[one.group] ** -0.5 for one in asked])
    scaled: Array = found / found.sum()
    return scaled


def _worths(
    asked: Sequence[Asked], posteriors: Sequence[Array], names: Sequence[str]
) -> tuple[list[float], list[float]]:
    label_signs: list[Array] = []
    branch_signs: list[Array] = []
    label_right, branch_right = [], []
    for one, shares in zip(asked, posteriors, strict=True):
        first = names[int(np.argmax(shares))]
        parents = by_branch(names, shares)
        for kept, chosen in (
            (label_signs, float(shares.max())),
            (branch_signs, parents[branch_of(first)]),
        ):
            kept.append(signs(one.features, shares, chosen, one.choice, names))
        label_right.append(first in one.right)
        branch_right.append(branch_of(first) in {branch_of(name) for name in one.right})
    return (
        _logistic(np.stack(label_signs), np.array(label_right)),
        _logistic(np.stack(branch_signs), np.array(branch_right)),
    )


def _logistic(values: Array, right: Array) -> list[float]:
    start = np.zeros(len(SIGNS))
    start[0] = 1.0

    def loss(weights: Array) -> tuple[float, Array]:
        scores = values @ weights
        sign = np.where(right, 1.0, -1.0)
        away = weights - start  # drawn to "the probability as it is"
        total = float(np.logaddexp(0, -sign * scores).mean()) + _RIDGE * float(away @ away)
        pull = -sign / (1 + np.exp(sign * scores))
        return total, values.T @ pull / len(values) + 2 * _RIDGE * away

    return [float(value) for value in minimize(loss, start, jac=True, method="L-BFGS-B").x]


def confidence(one: Asked, weights: Weights, names: Sequence[str]) -> tuple[str, float]:
    """The first answer and the probability that it is right."""
    shares = posterior(one.features, weights.features)
    values = signs(one.features, shares, float(shares.max()), one.choice, names)
    return names[int(np.argmax(shares))], worth(values, weights.label)

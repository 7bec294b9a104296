"""Judges a model on the held-out sides of the data set that it learnt from."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mapping.evaluation.folds import Folds
from mapping.evaluation.predictors import Known
from mapping.resolver.artifacts import Artifacts
from mapping.resolver.calibrate import Calibrator
from mapping.resolver.retrieve import known_labels
from mapping.resolver.types import Chooser
from taxonomy.agreement import of_entry
from training.datasets.store import Stored
from training.held_out.features import Retrieval
from training.held_out.judge import Material, Place, ask, calibrator_of, figures
from training.held_out.questions import HeldOut, HeldOutError, held_out, sides_apart

PROTOCOL: Final = "held-out detectors"
_THRESHOLD: Final = 0.6  # the default of mapping.confidence_threshold

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model is worth on detectors that it never saw, and its calibrator."""

    evaluation: dict[str, Any]  # evaluation.json
    calibrator: Calibrator  # fitted on validation and test


def judge(
    stored: Stored,
    chooser: Chooser,
    artifacts: Artifacts,
    known: Known,
    folds: Folds | None,
    *,
    say: Say = lambda _text: None,
) -> Judgement:
    """Ask the model about both held-out sides; fit on one, judge on the other.

    `known`: the knowledge that retrieval looks in, without the vendor in question. `folds`: scores
    of encoders that had not seen a vendor. Raises HeldOutError if the data set is no test of this
    model, FitError if it holds too little out, ChooserError if the model gives no answer.
    """
    labels = known.taxonomy["labels"]
    sides = [held_out(stored.rows(side), labels) for side in ("validation", "test")]
    sides_apart(*sides)
    retrieval = retrieval_of(artifacts, known, folds)
    _check_answers(sides, retrieval.names, known.taxonomy["edition"])
    say(f"asking about {sum(map(len, sides))} questions")
    validation, test, times, seen = _material(sides, chooser, retrieval)
    if chooser.identity is None:
        raise HeldOutError("The model does not say which it is.")
    place = Place(
        retrieval.names, artifacts.encoder_digest, known.taxonomy["edition"], chooser.identity,
        stored.digest,
    )  # fmt: skip
    say("fitting calibrators")
    fitted = calibrator_of(place, validation)
    retrieval_only = calibrator_of(place, validation, model=False)
    alone = figures(place, test, retrieval_only, labels, _THRESHOLD)
    evaluation = {
        "protocol": PROTOCOL,
        "data_set": stored.digest,
        "split": "test",
        "adapter_sha256": chooser.identity.adapter_digest,
        "edition": place.edition,
        "encoder": place.encoder,
        "threshold": _THRESHOLD,
        # Questions whose vendor the encoder had learnt from, for want of a fold that had not.
        "seen_by_encoder": seen,
        **figures(place, test, fitted, labels, _THRESHOLD),
        "retrieval_alone": {kind: alone[kind] for kind in ("described", "label_alone")},
        "latency_ms": _percentiles(times),
    }
    return Judgement(evaluation, calibrator_of(place, validation, test))


def _check_answers(sides: Iterable[list[HeldOut]], names: Sequence[str], edition: str) -> None:
    for one in itertools.chain.from_iterable(sides):
        if one.right.isdisjoint(names):
            raise HeldOutError(
                f"The answer {sorted(one.right)[0]!r} of {one.detector} is no label of edition "
                f"{edition}. Build the data set anew for this edition."
            )


def _material(
    sides: Sequence[list[HeldOut]], chooser: Chooser, retrieval: Retrieval
) -> tuple[Material, Material, list[float], int]:
    validation, test = sides
    seen = [retrieval.features(side) for side in sides]
    first, _ = ask(chooser, validation)
    second, times = ask(chooser, test)
    return (
        Material(validation, seen[0].values, first),
        Material(test, seen[1].values, second),
        times,
        sum(one.by_encoder for one in seen),
    )


def retrieval_of(artifacts: Artifacts, known: Known, folds: Folds | None) -> Retrieval:
    """Retrieval that looks as if it did not know the vendor of a question. See judge."""
    vendors = {name: _vendor(file) or name for name, file in known.detectors.items()}
    return Retrieval(
        known.taxonomy,
        known_labels(known.detectors.values(), of_entry),
        vendors,
        artifacts.encoder,
        artifacts.glossary,
        folds,
    )


def _vendor(file: Mapping[str, Any]) -> str:
    return str(file.get("vendor") or "").casefold()


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    """Of one question at a time."""
    ordered = sorted(times)
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p95": round(ordered[int(len(ordered) * 0.95)], 1),
    }

"""Out-of-fold scores: each detector's labels by an encoder that never saw the detector.

Two protocols: its detector held out, and, where a vendor has several detectors, all of them. Or,
many times cheaper and a little harder, parts of the vendors together, which serves for both. The
aliases of the taxonomy and the glossary are always learnt from; they belong to no detector.
"""

import queue
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.multiprocessing as processes

from mapping.resolver.texts import query_text
from mapping.resolver.types import LabelQuestion
from training.datasets.sides import fold_of
from training.encoder.data import Dataset, Example
from training.encoder.model import Encoder
from training.encoder.train import Profile, train

VARIANTS = ("described", "label alone")
PROTOCOLS = ("detector", "vendor")
Array = np.ndarray[Any, Any]


class Fold(NamedTuple):
    """Detectors that are held out together, and the rows that are scored."""

    protocols: tuple[str, ...]  # of PROTOCOLS: which scores these are
    name: str
    held_out: frozenset[str]
    rows: tuple[int, ...]


def folds_of(examples: Sequence[Example], parts: int = 0) -> list[Fold]:
    """All folds, by protocol; the largest last, as they leave the fewest examples to learn from.

    `parts`: so many parts of the vendors in place of each detector and each vendor by itself.
    """
    vendors = {one.detector: one.vendor or one.detector for one in examples}
    groups: dict[tuple[tuple[str, ...], str], set[str]] = {}
    for detector, vendor in vendors.items():
        if parts:
            groups.setdefault((PROTOCOLS, f"part {fold_of(vendor, parts)}"), set()).add(detector)
            continue
        groups[("detector",), detector] = {detector}
        several = {name for name, other in vendors.items() if other == vendor}
        if len(several) > 1:
            groups[("vendor",), vendor] = several
    found = [_fold(*key, frozenset(held_out), examples) for key, held_out in groups.items()]
    return sorted(found, key=lambda fold: (fold.protocols, len(fold.rows)))


def _fold(
    protocols: tuple[str, ...], name: str, held_out: frozenset[str], examples: Sequence[Example]
) -> Fold:
    rows = tuple(row for row, one in enumerate(examples) if one.detector in held_out)
    return Fold(protocols, name, held_out, rows)


def queries(examples: Sequence[Example], variant: str) -> list[str]:
    """The texts that are asked: no description in the variant `label alone`."""
    described = variant == "described"
    return [
        query_text(
            LabelQuestion(
                one.detector, one.label, one.description if described else "", one.category
            )
        )
        for one in examples
    ]


def scores(encoder: Encoder, dataset: Dataset, examples: Sequence[Example]) -> Array:
    """Cosines: examples x variants x answers."""
    answers = encoder.encode(list(dataset.texts.values()))
    found = [encoder.encode(queries(examples, variant)) @ answers.T for variant in VARIANTS]
    return np.stack(found, axis=1)


def neighbours(
    encoder: Encoder, dataset: Dataset, examples: Sequence[Example], known: Sequence[Example]
) -> Array:
    """Highest cosine with a known example of each answer: examples x variants x answers."""
    classes = {name: number for number, name in enumerate(dataset.texts)}
    others = encoder.encode(queries(known, "described"))
    members = np.zeros((len(classes), len(known)), dtype=bool)
    for column, one in enumerate(known):
        for name in one.answers:
            members[classes[name], column] = True
    found = np.full((len(examples), len(VARIANTS), len(classes)), -1.0, dtype=np.float32)
    for place, variant in enumerate(VARIANTS):
        near = encoder.encode(queries(examples, variant)) @ others.T
        for number in range(len(classes)):
            if members[number].any():
                found[:, place, number] = near[:, members[number]].max(axis=1)
    return found


def run_fold(
    encoder: Encoder, state: dict[str, Any], dataset: Dataset, fold: Fold, profile: Profile
) -> tuple[Fold, Array, Array, float]:
    """Trains on all but the fold's detectors; scores its rows."""
    encoder.load_state_dict(state)
    known = [one for one in dataset.examples if one.detector not in fold.held_out]
    loss = train(encoder, dataset, [*known, *dataset.always], profile)
    tested = [dataset.examples[row] for row in fold.rows]
    dense = scores(encoder, dataset, tested).astype(np.float16)
    near = neighbours(encoder, dataset, tested, known).astype(np.float16)
    return fold, dense, near, loss


def _work(base: Path, dataset: Dataset, profile: Profile, tasks: Any, done: Any) -> None:
    torch.set_num_threads(1)
    encoder = Encoder(base, "cuda" if torch.cuda.is_available() else "cpu")
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    while (fold := tasks.get()) is not None:
        done.put(run_fold(encoder, state, dataset, fold, profile))


def _next(done: Any, team: Sequence[Any]) -> tuple[Fold, Array, Array, float]:
    """The next fold that is done. RuntimeError if all workers have ended without it."""
    while True:
        try:
            result: tuple[Fold, Array, Array, float] = done.get(timeout=5)
        except queue.Empty:
            if not any(worker.is_alive() for worker in team):
                raise RuntimeError("The workers have ended: see what they wrote.") from None
        else:
            return result


def run(
    base: Path, dataset: Dataset, folds: Sequence[Fold], profile: Profile, workers: int
) -> Iterator[tuple[Fold, Array, Array, float]]:
    """Every fold's scores as they come, by `workers` processes that share the device."""
    context = processes.get_context("spawn")
    tasks, done = context.Queue(), context.Queue()
    for fold in folds:
        tasks.put(fold)
    for _ in range(workers):
        tasks.put(None)
    started = time.monotonic()
    team = [
        context.Process(target=_work, args=(base, dataset, profile, tasks, done), daemon=True)
        for _ in range(workers)
    ]
    for worker in team:
        worker.start()
    for number in range(1, len(folds) + 1):
        found = _next(done, team)
        elapsed = time.monotonic() - started
        left = elapsed / number * (len(folds) - number)
        print(  # noqa: T201 - progress of a long run
            f"{number}/{len(folds)} {' and '.join(found[0].protocols)} {found[0].name}: "
            f"{len(found[0].rows)} rows, loss {found[3]:.3f}, {elapsed:.0f} s, {left:.0f} s left",
            flush=True,
        )
        yield found

"""What is trained on in which step: samples packed into rows, rows into passes, passes into steps.

The plan follows from lengths and seed alone, so every process knows all of it, and a resumed run
goes on where the killed one was by the number of the step.
"""

import bisect
import random
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

WINDOW: Final = 4096  # samples that are packed together: enough to fill rows, few enough to mix

Pack: TypeAlias = list[int]  # numbers of the samples in one row
Pass: TypeAlias = list[Pack]  # rows of one forward pass


class Step(NamedTuple):
    """One step of the optimizer."""

    epoch: int  # from 0
    passes: list[Pass]  # of all processes: process r of n takes passes r, r + n, ...
    samples: int
    tokens: int  # real ones: the filler at the ends of rows is not counted


def best_fit_decreasing(
    lengths: Sequence[int], numbers: Sequence[int], capacity: int
) -> list[Pack]:
    """Rows of at most `capacity` tokens that hold all of `numbers`; long samples are placed first.

    Equal lengths keep their order. Raises ValueError if a sample is longer than a row.
    """
    packs: list[Pack] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for number in sorted(numbers, key=lambda one: -lengths[one]):
        length = lengths[number]
        if length > capacity:
            raise ValueError(f"sample {number} has {length} tokens, and a row has {capacity}")
        place = bisect.bisect_left(room, (length, -1))
        if place == len(room):
            left, row = capacity, len(packs)
            packs.append([])
        else:
            left, row = room.pop(place)
        packs[row].append(number)
        if left > length:
            bisect.insort(room, (left - length, row))
    return packs


def plan(
    lengths: Sequence[int],
    *,
    epochs: int,
    max_length: int,
    batch_tokens: int,
    packing: bool,
    passes_a_step: int,
    seed: int,
    max_steps: int = 0,
    variations: Sequence[Sequence[int]] = (),
) -> list[Step]:
    """All steps of a run. `passes_a_step`: accumulation times processes.

    `variations`: samples of which epoch e takes one each, in turn; none: every epoch takes all.
    """
    steps: list[Step] = []
    for epoch in range(epochs):
        chance = random.Random(f"{seed}/{epoch}")  # noqa: S311 - repeatable on purpose
        taken = [group[epoch % len(group)] for group in variations] or range(len(lengths))
        order = chance.sample(taken, len(taken))
        passes = passes_of(lengths, order, max_length, batch_tokens, packing, chance)
        for at in range(0, len(passes), passes_a_step):
            part = passes[at : at + passes_a_step]
            numbers = [number for one in part for pack in one for number in pack]
            tokens = sum(lengths[number] for number in numbers)
            steps.append(Step(epoch, part, len(numbers), tokens))
    return steps[:max_steps] if max_steps else steps


def passes_of(
    lengths: Sequence[int],
    order: Sequence[int],
    max_length: int,
    batch_tokens: int,
    packing: bool,
    chance: random.Random | None = None,
) -> list[Pass]:
    """Samples in rows, and rows in passes of at most `batch_tokens`, filler counted."""
    if not packing:
        return _unpacked(lengths, order, batch_tokens)
    packs: list[Pack] = []
    for at in range(0, len(order), WINDOW):
        packs += best_fit_decreasing(lengths, order[at : at + WINDOW], max_length)
    if chance is not None:
        chance.shuffle(packs)
    rows = batch_tokens // max_length
    return [packs[at : at + rows] for at in range(0, len(packs), rows)]


def _unpacked(lengths: Sequence[int], order: Sequence[int], batch_tokens: int) -> list[Pass]:
    passes: list[Pass] = []
    longest = 0
    for number in order:
        grown = max(longest, lengths[number])
        if passes and (len(passes[-1]) + 1) * grown <= batch_tokens:
            passes[-1].append([number])
            longest = grown
        else:
            passes.append([[number]])
            longest = lengths[number]
    return passes


class Arrays(NamedTuple):
    """One forward pass as numbers: rows x length, and where the answers are read."""

    ids: np.ndarray
    positions: np.ndarray  # from 0 in each sample
    segments: np.ndarray  # rows x length: number of the sample in its row; filler has its own
    bounds: np.ndarray  # where segments begin in the rows laid end to end, and the end of all
    places: np.ndarray  # of the answers in the rows laid end to end
    numbers: list[int]  # samples by place


def arrays(
    samples: Sequence[np.ndarray],
    packs: Pass,
    *,
    filler: int,
    shape: tuple[int, int] | None = None,
    segments: int = 0,
) -> Arrays:
    """Lays out one pass. `samples`: token ids of each sample.

    `shape`: rows x length, else as few as do. `segments`: at least so many bounds, by empty
    segments at the end; compiled code wants the same sizes every time.
    """
    filled = [sum(len(samples[number]) for number in pack) for pack in packs]
    rows, length = shape or (len(packs), max(filled))
    ids = np.full((rows, length), filler, dtype=np.int64)
    positions = np.zeros((rows, length), dtype=np.int64)
    owners = np.zeros((rows, length), dtype=np.int32)
    bounds, places, numbers = [0], [], []
    for row in range(rows):
        pack = packs[row] if row < len(packs) else []
        at = 0
        for order, number in enumerate(pack):
            end = at + len(samples[number])
            ids[row, at:end] = samples[number]
            positions[row, at:end] = np.arange(end - at)
            owners[row, at:end] = order
            bounds.append(row * length + end)
            places.append(row * length + end - 1)
            numbers.append(number)
            at = end
        if at < length:
            positions[row, at:] = np.arange(length - at)
            owners[row, at:] = len(pack)
            bounds.append((row + 1) * length)
    bounds += [rows * length] * max(0, segments + 1 - len(bounds))
    return Arrays(
        ids, positions, owners, np.array(bounds, dtype=np.int32), np.array(places, dtype=np.int64),
        numbers,
    )  # fmt: skip

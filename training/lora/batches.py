"""Passes of the plan as tensors, laid out ahead by a thread while the device works."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mapping.resolver.prompt import MAX_OPTIONS
from training.lora.packing import Pass, arrays
from training.lora.tokens import Sample

T = TypeVar("T")
_AHEAD: Final = 4
_POLL_SECONDS: Final = 0.5


class Batch(NamedTuple):
    """One forward pass. Answers are n of its samples' ends; options are at most 26."""

    ids: Tensor  # rows x length
    positions: Tensor
    owners: Tensor  # rows x length: which sample of its row a token is of
    bounds: Tensor  # of the samples laid end to end
    places: Tensor  # n
    options: Tensor  # n x 26, tokens; 0 beyond the offered ones
    offered: Tensor  # n x 26, whether it is one
    shares: Tensor  # n x 26, of the probability that is right
    numbers: list[int]  # n
    longest: int

    def to(self, device: torch.device) -> "Batch":
        """The same on a device, without waiting for it."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor)
        }
        return self._replace(**moved)


class Layout:
    """Makes batches of samples. `fixed`: the same shapes every time, as compiled code wants."""

    def __init__(
        self, samples: Sequence[Sample], *, filler: int, max_length: int, batch_tokens: int,
        fixed: bool, pinned: bool,
    ) -> None:  # fmt: skip
        self._samples = samples
        self._tokens = [one.tokens for one in samples]
        self._filler = filler
        self._pinned = pinned
        self._longest = max_length
        self._shape = (batch_tokens // max_length, max_length) if fixed else None
        shortest = min((len(one) for one in self._tokens), default=1)
        rows = batch_tokens // max_length
        self._segments = rows * (max_length // shortest + 1) if fixed else 0

    def batch(self, packs: Pass) -> Batch:
        """Of one pass; in pinned memory where it goes to a GPU."""
        found = arrays(
            self._tokens, packs, filler=self._filler, shape=self._shape, segments=self._segments
        )
        count = len(found.numbers)
        options = np.zeros((count, MAX_OPTIONS), dtype=np.int64)
        offered = np.zeros((count, MAX_OPTIONS), dtype=bool)
        shares = np.zeros((count, MAX_OPTIONS), dtype=np.float32)
        for row, number in enumerate(found.numbers):
            sample = self._samples[number]
            options[row, : len(sample.offered)] = sample.offered
            offered[row, : len(sample.offered)] = True
            for token in sample.right:
                shares[row, sample.offered.index(token)] = 1 / len(sample.right)
        longest = self._longest
        if self._shape is None:
            longest = int(np.diff(found.bounds).max())
        laid = (
            found.ids, found.positions, found.segments, found.bounds, found.places,
            options, offered, shares,
        )  # fmt: skip
        tensors = [torch.from_numpy(one) for one in laid]
        if self._pinned:
            tensors = [one.pin_memory() for one in tensors]
        return Batch._make([*tensors, found.numbers, longest])


def ahead(make: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """What `make` makes of each item, made by a thread a little ahead; its errors come here."""
    made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(_AHEAD)
    over = threading.Event()

    def put(result: T | None, error: BaseException | None) -> bool:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                made.put((result, error), timeout=_POLL_SECONDS)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(make(item), None):
                    return
            put(None, None)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader
            put(None, error)

    thread = threading.Thread(target=work, name="layout", daemon=True)
    thread.start()
    try:
        while True:
            result, error = made.get()
            if error is not None:
                raise error
            if result is None:
                return
            yield result
    finally:
        over.set()
        thread.join()

"""The line in front of the models: bounded, first come first served, one thread that reads."""

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Final, NamedTuple

from mapping.worker.metrics import Metrics
from mapping.worker.model import LetterModel


class Full(Exception):  # noqa: N818 - named like queue.Full
    """As many questions wait as may."""


class Late(Exception):  # noqa: N818
    """The question's time was over before its turn came."""


class Reading(NamedTuple):
    """What the model says about the next token."""

    top: int
    log_probs: list[float]  # of the tokens that were asked for, in order


@dataclass(frozen=True, slots=True)
class _Job:
    model: LetterModel
    tokens: Sequence[int]
    wanted: Sequence[int]
    deadline: float
    asked_at: float
    future: Future[Reading]


_END: Final = None


class Reader:
    """Reads one question at a time; whoever asks waits for the future."""

    def __init__(self, metrics: Metrics, *, places: int) -> None:
        self._metrics = metrics
        self._line: queue.Queue[_Job | None] = queue.Queue(places)
        self._thread = Thread(target=self._work, name="reader", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether questions are still read."""
        return self._thread.is_alive()

    def ask(
        self,
        model: LetterModel,
        tokens: Sequence[int],
        wanted: Sequence[int],
        *,
        deadline: float,
    ) -> Reading:
        """Wait for the answer. Raises Full at once, or Late when the time is over."""
        future: Future[Reading] = Future()
        try:
            self._line.put_nowait(_Job(model, tokens, wanted, deadline, time.monotonic(), future))
        except queue.Full:
            raise Full from None
        self._metrics.waiting.set(self._line.qsize())
        try:
            return future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise Late from None

    def close(self) -> None:
        """End the thread after what it reads now."""
        self._line.put(_END)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._line.get()) is not _END:
            self._metrics.waiting.set(self._line.qsize())
            started = time.monotonic()
            # A question that nobody waits for any more would only make the others late too.
            if started >= job.deadline or not job.future.set_running_or_notify_cancel():
                continue
            self._metrics.wait.observe(started - job.asked_at)
            try:
                reading = Reading(*job.model.log_probs(job.tokens, job.wanted))
            except Exception as error:  # noqa: BLE001 - told to whoever waits; the thread goes on
                job.future.set_exception(error)
            else:
                job.future.set_result(reading)
            self._metrics.forward.observe(time.monotonic() - started)

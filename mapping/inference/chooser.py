"""The Chooser over HTTP: time budget, bounded queue, circuit breaker, checked identity."""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Lock, Semaphore

from mapping.inference.backends import backend_for
from mapping.inference.breaker import Breaker, BreakerState
from mapping.inference.failures import (
    InferenceError,
    Outcome,
    left_alone,
    no_place,
    rubbish,
    too_late,
)
from mapping.inference.observer import NoObserver, Observer
from mapping.inference.options import InferenceOptions
from mapping.inference.transport import Transport
from mapping.resolver.prompt import build_prompt
from mapping.resolver.types import Choice, LabelQuestion, ModelIdentity, Option, Prompt


class HttpChooser:
    """Asks one server. Thread-safe; make one a process, after forking.

    A call takes at most `timeout_seconds`, whatever the server does: questions are asked in threads
    of their own, and whoever waits for them gives up in time.
    """

    def __init__(self, options: InferenceOptions, observer: Observer | None = None) -> None:
        self._options = options
        self._observer = observer or NoObserver()
        self._backend = backend_for(options)
        self._server = Transport(
            options.url,
            api_key=options.api_key,
            connections=options.max_in_flight,
            timeout_seconds=options.timeout_seconds,
        )
        self._pool = ThreadPoolExecutor(options.max_in_flight, "inference")
        self._places = Semaphore(options.max_in_flight)
        self._breaker = Breaker(
            failures=options.breaker_failures,
            seconds=options.breaker_seconds,
            changed=self._breaker_changed,
        )
        self._identity: ModelIdentity | None = None
        self._verified = False
        self._verifying = Lock()

    @property
    def identity(self) -> ModelIdentity | None:
        """Of the model that answered last; None while no worker has been reached."""
        return self._identity

    @property
    def breaker_state(self) -> BreakerState:
        """Of the circuit breaker."""
        return self._breaker.state

    def choose(
        self, questions: Sequence[tuple[LabelQuestion, Sequence[Option]]], *, salt: str
    ) -> list[Choice]:
        """One choice a question, in order. Raises ChooserError; ValueError without options."""
        if not questions:
            return []
        prompts = [build_prompt(question, options) for question, options in questions]
        started = time.monotonic()
        outcome: Outcome = "ok"
        try:
            return self._guarded(prompts, self._salt(salt), started)
        except InferenceError as error:
            outcome = error.outcome
            raise
        finally:
            self._observer.called(
                backend=self._options.backend,
                outcome=outcome,
                seconds=time.monotonic() - started,
            )

    def check(self) -> ModelIdentity:
        """Ask the server anew which model it runs. Raises ChooserError, within the time budget."""
        deadline = time.monotonic() + self._options.timeout_seconds
        self._verified = False
        self._verify(deadline)
        if self._identity is None:
            raise rubbish()
        return self._identity

    def close(self) -> None:
        """End the threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._server.close()

    def _guarded(self, prompts: list[Prompt], salt: str, started: float) -> list[Choice]:
        ticket = self._breaker.enter()
        if ticket is None:
            raise left_alone()
        failed: bool | None = True
        for_sure = False
        try:
            choices = self._ask_all(prompts, salt, started + self._options.timeout_seconds)
            failed = False
            return choices
        except InferenceError as error:
            failed = True if error.counts else None
            for_sure = error.outcome == "wrong_model"
            if failed:
                self._verified = False  # another worker may come up in the place of this one
            raise
        finally:
            self._breaker.leave(ticket, failed=failed, for_sure=for_sure)

    def _ask_all(self, prompts: list[Prompt], salt: str, deadline: float) -> list[Choice]:
        if not self._places.acquire(blocking=False):
            raise no_place(self._options.max_in_flight)
        futures: list[Future[Choice]] = []
        left = Countdown(len(prompts), self._places.release)
        for prompt in prompts:
            future = self._pool.submit(self._ask, prompt, salt, deadline)
            future.add_done_callback(left.count)
            futures.append(future)
        done, _ = wait(futures, max(0.0, deadline - time.monotonic()), FIRST_EXCEPTION)
        try:
            for future in done:
                future.result()
            if len(done) < len(futures):
                raise too_late(self._options.timeout_seconds, counts=not done)
        finally:
            for future in futures:
                future.cancel()
        return [future.result() for future in futures]

    def _ask(self, prompt: Prompt, salt: str, deadline: float) -> Choice:
        self._verify(deadline)
        return self._backend.read(self._server, prompt, salt=salt, deadline=deadline)

    def _verify(self, deadline: float) -> None:
        """Check the server's model once, and again after every failure."""
        if self._verified:
            return
        if not self._verifying.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise too_late(self._options.timeout_seconds)
        try:
            if not self._verified:
                self._identity = self._backend.verify(self._server, deadline=deadline)
                self._verified = True
        finally:
            self._verifying.release()

    def _salt(self, salt: str) -> str:
        """What the server may see in place of a tenant."""
        return hmac.new(self._options.salt_key, salt.encode(), hashlib.sha256).hexdigest()[:32]

    def _breaker_changed(self, state: BreakerState) -> None:
        self._observer.breaker(backend=self._options.backend, state=state)


class Countdown:
    """Calls `finish` once, when the last of `count` things is done. Thread-safe."""

    def __init__(self, count: int, finish: Callable[[], None]) -> None:
        self._left = count
        self._finish = finish
        self._lock = Lock()

    def count(self, _done: object) -> None:
        """One more is done."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._finish()

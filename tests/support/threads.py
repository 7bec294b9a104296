"""Runs things at the same time, each on a database connection of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def together(actions: Sequence[Callable[[], T]], *, seconds: float = 60) -> list[T]:
    """Start all actions at one moment, each in a thread; their results, or the first exception.

    `seconds`: how long each may take.
    """
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], T]) -> T:
        from django.db import connections

        try:
            barrier.wait(timeout=30)
            return action()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(actions)) as pool:
        futures = [pool.submit(run, action) for action in actions]
        return [future.result(timeout=seconds) for future in futures]


def apart(action: Callable[[], T]) -> T:
    """Run one action in a new thread, on a new connection."""
    return together([action])[0]

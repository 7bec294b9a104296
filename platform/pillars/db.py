"""Small helpers over Django's database connection."""

from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection

from pillars.observability import metrics

T = TypeVar("T")
log = structlog.get_logger("pillars.db")


def retry_lost_connection(action: Callable[[], T]) -> T:
    """Run `action`; once more on a new connection if the first one turned out to be dead.

    `action` must be safe to repeat: a connection can be lost after the server has committed.
    """
    try:
        return action()
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        metrics.RETRIED_WRITES.inc()
        log.warning("database_connection_lost")
        return action()

"""Sends background work. The row in the database is the outbox: a lost message is sent again."""

from typing import Any

import structlog
from celery import current_app
from kombu.exceptions import OperationalError

log = structlog.get_logger("pillars.queue")


def dispatch(task: str, *, expires: float | None = None, **kwargs: Any) -> bool:
    """Send a task by name; False if the broker did not take it.

    `expires`: seconds after which a message that nobody took is dropped.

    It never raises for that: whoever dispatches has written down what is to be done, and the
    sweeps of the beat schedule send what nobody has picked up.
    """
    try:
        current_app.send_task(task, kwargs=kwargs, expires=expires)
    except (OperationalError, OSError):
        log.warning("broker_unavailable", task=task)
        return False
    return True

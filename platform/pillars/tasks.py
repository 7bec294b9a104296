"""The heartbeat by which /health/ready knows that beat and a worker are alive."""

import time

from celery import shared_task

from access.keys.limiter import store
from pillars.health import HEARTBEAT_KEY


@shared_task(name="pillars.heartbeat")
def heartbeat() -> None:
    """Sent by beat, run by a worker: proof that both live."""
    store().set(HEARTBEAT_KEY, time.time(), ex=600)

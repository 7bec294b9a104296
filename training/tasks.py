"""Background work of versions of models."""

import uuid

from celery import shared_task

from tenants.context import reset
from training import requests


@shared_task(name=requests.TASK)
def promote(*, request_id: str) -> None:
    """Carry out a promotion that somebody asked for, once."""
    reset()
    requests.carry_out(request_id=uuid.UUID(request_id))


@shared_task(name="training.sweep_promotions")
def sweep_promotions() -> bool:
    """Send what the broker has lost."""
    reset()
    return requests.send_again()

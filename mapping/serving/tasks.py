"""Keeps the model's server in step with the choices."""

import structlog
from celery import shared_task

from mapping.serving.deploy import DeployError, load_missing
from mapping.serving.history import models_to_keep
from tenants.context import reset

log = structlog.get_logger("mapping.serving")


@shared_task(name="serving.sweep")
def sweep() -> list[str]:
    """Load again what a restarted server has lost: live, the one before, the one on trial."""
    reset()
    models = models_to_keep()
    if not models:
        return []
    try:
        again = load_missing(models)
    except DeployError:
        # Its text may hold a path; /health/ready says what does not answer.
        log.warning("adapter_not_loaded", count=len(models))
        return []
    if again:
        log.warning("adapters_loaded_again", count=len(again))
    return again

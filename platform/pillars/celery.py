"""The Celery application and its schedule. A tenant's tasks use tenants.tasks.TenantTask."""

import os
import time
from typing import Any

import structlog
from celery import Celery, Task
from celery.schedules import crontab
from celery.signals import beat_init, setup_logging, task_postrun, task_prerun
from django.conf import settings

from pillars.observability.logging import guard_process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pillars.settings")

app = Celery("pillars")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
log = structlog.get_logger("pillars.task")


@setup_logging.connect
def _keep_our_logging(**_kwargs: object) -> None:
    """Django's logging configuration stands; Celery must not add handlers of its own.

    Sent in worker and beat alone.
    """
    guard_process()


@task_prerun.connect
def _note_start(task: Task, **_kwargs: Any) -> None:
    task.request.update(started_clock=time.perf_counter())


@task_postrun.connect
def _log_task(task_id: str, task: Task, state: str | None, kwargs: Any, **_more: Any) -> None:
    """One line a task, as for requests: what Celery itself logs of a task is not metadata alone."""
    if task.name == "pillars.heartbeat" and state == "SUCCESS":
        return
    started = getattr(task.request, "started_clock", None)
    write = log.info if state == "SUCCESS" else log.error
    write(
        "task",
        task=task.name,
        task_id=task_id,
        state=state,
        duration_ms=round((time.perf_counter() - started) * 1000, 2) if started else None,
        tenant_id=(kwargs or {}).get("tenant_id"),
        report_id=(kwargs or {}).get("report_id"),
    )


@beat_init.connect
def _first_heartbeat(**_kwargs: object) -> None:
    """Show at once that beat and a worker live; a new schedule waits for its first interval."""
    app.send_task("pillars.heartbeat", expires=10)


_REVIEWS_SECONDS: float = settings.CONFIG.review.count_every_seconds
app.conf.task_routes = {
    "tenants.*": {"queue": "tenants"},
    "reporting.*": {"queue": "reports"},
    "training.run": {"queue": "training"},  # for hours; a machine with a GPU may listen to it alone
}
app.conf.beat_schedule = {
    "publish-changes": {
        "task": "changes.publish_due",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "change-notices": {
        "task": "changes.send_notices",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "heartbeat": {"task": "pillars.heartbeat", "schedule": 10.0, "options": {"expires": 10}},
    "sweep-tenants": {"task": "tenants.sweep", "schedule": 60.0, "options": {"expires": 60}},
    "sweep-reports": {"task": "reporting.sweep", "schedule": 30.0, "options": {"expires": 30}},
    "flush-key-use": {"task": "keys.flush_use", "schedule": 60.0, "options": {"expires": 60}},
    "sweep-migrations": {
        "task": "mapping.sweep_migrations",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "sweep-reviews": {
        "task": "mapping.sweep_reviews",
        "schedule": _REVIEWS_SECONDS,
        "options": {"expires": _REVIEWS_SECONDS},
    },
    "sweep-adapters": {"task": "serving.sweep", "schedule": 30.0, "options": {"expires": 30}},
    "sweep-training": {"task": "training.sweep", "schedule": 30.0, "options": {"expires": 30}},
    "sweep-promotions": {
        "task": "training.sweep_promotions",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "partitions": {"task": "mapping.maintain", "schedule": crontab(minute="7", hour="*/6")},
    "idempotency": {"task": "idempotency.expire", "schedule": crontab(minute="23")},
    "reports": {"task": "reporting.expire", "schedule": crontab(minute="37", hour="3")},
}

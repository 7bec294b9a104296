"""The Celery application and its schedule. A tenant's tasks use tenants.tasks.TenantTask."""

import os

from celery import Celery
from celery.schedules import crontab
from celery.signals import beat_init, setup_logging

from pillars.observability.logging import guard_process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pillars.settings")

app = Celery("pillars")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_kwargs: object) -> None:
    """Django's logging configuration stands; Celery must not add handlers of its own.

    Sent in worker and beat alone.
    """
    guard_process()


@beat_init.connect
def _first_heartbeat(**_kwargs: object) -> None:
    """Show at once that beat and a worker live; a new schedule waits for its first interval."""
    app.send_task("pillars.heartbeat", expires=10)


app.conf.task_routes = {"tenants.*": {"queue": "tenants"}, "reporting.*": {"queue": "reports"}}
app.conf.beat_schedule = {
    "heartbeat": {"task": "pillars.heartbeat", "schedule": 10.0, "options": {"expires": 10}},
    "sweep-tenants": {"task": "tenants.sweep", "schedule": 60.0, "options": {"expires": 60}},
    "sweep-reports": {"task": "reporting.sweep", "schedule": 30.0, "options": {"expires": 30}},
    "flush-key-use": {"task": "keys.flush_use", "schedule": 60.0, "options": {"expires": 60}},
    "partitions": {"task": "mapping.maintain", "schedule": crontab(minute="7", hour="*/6")},
    "idempotency": {"task": "idempotency.expire", "schedule": crontab(minute="23")},
    "reports": {"task": "reporting.expire", "schedule": crontab(minute="37", hour="3")},
}

"""The Django project: settings, URLs, Celery, health and observability."""

from pillars.celery import app as celery_app

__all__ = ["celery_app"]

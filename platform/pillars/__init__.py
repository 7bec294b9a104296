"""The Django project: settings, URLs, Celery, health and observability."""

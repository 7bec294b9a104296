"""App configuration."""

from django.apps import AppConfig


class ChangesConfig(AppConfig):
    """Change sets on the knowledge (public schema)."""

    name = "taxonomy.changes"
    label = "changes"
    verbose_name = "Changes"

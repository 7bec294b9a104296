"""App configuration."""

from django.apps import AppConfig


class TaxonomyConfig(AppConfig):
    """Taxonomy, detectors, frameworks and crosswalks (public schema)."""

    name = "taxonomy"
    verbose_name = "Knowledge"

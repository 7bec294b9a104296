"""App configuration."""

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Data sets, training runs and the registry of models, for the whole platform."""

    name = "training"
    label = "training"
    verbose_name = "Models and training"

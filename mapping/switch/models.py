"""Choices of the mapping mode, in the public schema: they hold for the whole platform."""

import uuid_utils.compat
from django.db import models

from audit.triggers import append_only


class Mode(models.TextChoices):
    """Who maps."""

    HYBRID = "hybrid", "Hybrid: rules and approved decisions, the model for unknown labels"
    MODEL_FIRST = "model_first", "Model first: rules where the model is not certain enough"
    RULES_ONLY = "rules_only", "Rules only: no model"


class ChoiceKind(models.TextChoices):
    """How a choice came about."""

    CHOSEN = "chosen", "Mode chosen"
    KILL_ON = "kill_on", "Kill switch on"
    KILL_OFF = "kill_off", "Kill switch off"


class ModeChoice(models.Model):
    """One choice of a mode. The one with the highest number is in force.

    Without any choice `mapping.mode` of pillars.yaml is in force, and so it is after a choice that
    names no mode. The rows are the history: a further choice is a further row.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    number = models.PositiveIntegerField(unique=True, help_text="The platform's choices in order")
    kind = models.CharField(max_length=8, choices=ChoiceKind.choices)
    mode = models.CharField(  # noqa: DJ001 - none is the file's, not empty
        max_length=11, choices=Mode.choices, null=True, help_text="None: as pillars.yaml says"
    )
    effective = models.CharField(
        max_length=11, choices=Mode.choices, help_text="What was in force from then on"
    )
    previous = models.CharField(
        max_length=11, choices=Mode.choices, help_text="What was in force until then"
    )
    followed = models.BooleanField(help_text="Whether pillars.yaml was followed until then")
    reason = models.CharField(max_length=300, blank=True, help_text="In the person's words")
    made_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-number",)
        verbose_name = "mapping mode choice"
        triggers = append_only()

    def __str__(self) -> str:
        return f"Choice {self.number}: {self.effective}"

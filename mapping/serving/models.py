"""Choices of the model's version that answers, in the public schema."""

import uuid_utils.compat
from django.contrib.postgres.fields import ArrayField
from django.db import models

from audit.triggers import append_only


class ServingKind(models.TextChoices):
    """What a choice changed."""

    PROMOTED = "promoted", "Version promoted"
    ROLLED_BACK = "rolled_back", "Rolled back"
    TRIAL_STARTED = "trial_started", "Trial started"
    TRIAL_CHANGED = "trial_changed", "Trial changed"
    TRIAL_ENDED = "trial_ended", "Trial ended"


class ServingChoice(models.Model):
    """Who answers from this choice on. The one with the highest number is in force.

    Without any choice, and where `live` is none, the model that `inference` of pillars.yaml names
    is live. The rows are the history: a further choice is a further row. `live` and `trial` are
    written by ServedModel.as_json; the calibrator travels in them, so that no process needs a disk
    that others write to.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    number = models.PositiveIntegerField(unique=True, help_text="The platform's choices in order")
    kind = models.CharField(max_length=13, choices=ServingKind.choices)
    live = models.JSONField(null=True, help_text="None: as pillars.yaml says")
    trial = models.JSONField(null=True, help_text="None: no version is on trial")
    trial_tenants = ArrayField(
        models.UUIDField(), default=list, help_text="Tenants that the trial's version answers"
    )
    trial_share = models.FloatField(
        default=0.0, help_text="Share of the labels that it answers for every tenant, 0 to 1"
    )
    shadow = models.BooleanField(
        default=False, help_text="It is asked beside the live version, and answers nobody"
    )
    reason = models.CharField(max_length=300, blank=True, help_text="In the person's words")
    made_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-number",)
        verbose_name = "served model choice"
        triggers = append_only()
        constraints = [
            models.CheckConstraint(
                condition=models.Q(trial_share__gte=0, trial_share__lte=1),
                name="trial_share_is_a_share",
            ),
            models.CheckConstraint(
                condition=models.Q(trial__isnull=False)
                | models.Q(trial_tenants=[], trial_share=0.0, shadow=False),
                name="no_share_without_a_trial",
            ),
        ]

    def __str__(self) -> str:
        return f"Choice {self.number}: {self.get_kind_display()}"

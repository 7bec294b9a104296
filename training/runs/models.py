"""Training runs, the points of their curves and the lines of their logs, in the public schema.

They hold figures and what the trainer says of itself: nothing of a tenant, and no text of a data
set. The steps of a run are kept by the database (training.runs.triggers).
"""

import uuid_utils.compat
from django.db import models
from django.db.models import Q

from training.runs import triggers


class RunState(models.TextChoices):
    """Where a run stands."""

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    CANCELLING = "cancelling", "Stopping"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    REFUSED = "refused", "Refused"
    CANCELLED = "cancelled", "Cancelled"
    LOST = "lost", "Lost"


ACTIVE = (RunState.RUNNING, RunState.CANCELLING)
OPEN = (RunState.QUEUED, *ACTIVE)
RESUMABLE = (RunState.FAILED, RunState.REFUSED, RunState.CANCELLED, RunState.LOST)
MESSAGE_CHARS = 600
LINE_CHARS = 500


class TrainingRun(models.Model):
    """One adapter that is, was or will be trained, in one folder, in one or several attempts."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    # What was asked for.
    profile = models.CharField(max_length=60)
    overrides = models.JSONField(default=dict, help_text="Fields of the profile and their texts")
    data_set = models.CharField(max_length=64, help_text="Digest")
    data_set_name = models.CharField("name of the data set", max_length=100)
    base = models.CharField("base model", max_length=300, help_text="packaged, or a path")
    seed = models.PositiveIntegerField()
    started_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    created_at = models.DateTimeField(auto_now_add=True)
    # Where it stands.
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    queued_at = models.DateTimeField(help_text="When it last began to wait")
    started_at = models.DateTimeField(null=True, help_text="Of this attempt")
    ended_at = models.DateTimeField(null=True)
    message = models.CharField(
        max_length=MESSAGE_CHARS, blank=True, help_text="How it ended, and what to do"
    )
    # Who runs and who follows it. A process is known by its number and by when it started.
    host = models.CharField(max_length=255, blank=True)
    seen_at = models.DateTimeField(null=True, help_text="The follower's last sign of life")
    trainer_pid = models.PositiveIntegerField(null=True)
    trainer_started = models.CharField(max_length=60, blank=True)
    follower_pid = models.PositiveIntegerField(null=True)
    follower_started = models.CharField(max_length=60, blank=True)
    cancel_asked_at = models.DateTimeField(null=True)
    # What it has told.
    step = models.PositiveIntegerField(default=0, help_text="Steps of the optimizer that are done")
    steps = models.PositiveIntegerField(default=0, help_text="All steps; 0: not known yet")
    seconds_left = models.FloatField(null=True)
    tokens_per_second = models.FloatField(null=True)
    loss = models.FloatField(null=True, help_text="Of training, the last one told")
    best_accuracy = models.FloatField(null=True, help_text="On the held-out rows, 0 to 1")
    best_loss = models.FloatField(null=True, help_text="On the held-out rows, of the best")
    best_step = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ("-id",)
        verbose_name = "training run"
        constraints = [
            models.UniqueConstraint(
                fields=["host"], condition=Q(state__in=ACTIVE), name="one_run_a_machine"
            )
        ]
        triggers = triggers.for_runs()

    def __str__(self) -> str:
        return f"Run {self.short}"

    @property
    def short(self) -> str:
        """The end of its id, by which people name it."""
        return str(self.id)[-8:]

    @property
    def is_active(self) -> bool:
        """Whether a trainer works on it."""
        return self.state in ACTIVE

    @property
    def is_open(self) -> bool:
        """Whether it goes on, or waits."""
        return self.state in OPEN

    @property
    def is_resumable(self) -> bool:
        """Whether it may go on from its last checkpoint."""
        return self.state in RESUMABLE

    @property
    def percent(self) -> int:
        """Steps done, of all."""
        return min(100, 100 * self.step // self.steps) if self.steps else 0


class PointKind(models.TextChoices):
    """What a point of a curve tells of."""

    STEP = "step", "Training"
    EVALUATION = "evaluation", "Held-out rows"


class RunPoint(models.Model):
    """A point of a run's curves. Those of training are thinned out as they become many."""

    id = models.BigAutoField(primary_key=True)  # in the order in which they came
    run = models.ForeignKey(TrainingRun, models.PROTECT, related_name="points")
    kind = models.CharField(max_length=10, choices=PointKind.choices)
    step = models.PositiveIntegerField()
    position = models.PositiveIntegerField(help_text="Which one of its kind, from 0")
    loss = models.FloatField()
    learning_rate = models.FloatField(null=True)
    accuracy = models.FloatField(null=True, help_text="0 to 1")
    parent_accuracy = models.FloatField(null=True, help_text="Right branch, 0 to 1")
    tokens_per_second = models.FloatField(null=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=["run", "kind", "step"], name="one_point_a_step")
        ]
        triggers = triggers.for_what_is_told()

    def __str__(self) -> str:
        return f"{self.kind} {self.step}"


class RunLine(models.Model):
    """A line of a run's log. The newest are kept."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    run = models.ForeignKey(TrainingRun, models.PROTECT, related_name="lines")
    number = models.PositiveIntegerField(help_text="The run's lines in order, from 1")
    level = models.CharField(max_length=7, help_text="info, warning or error")
    text = models.CharField(max_length=LINE_CHARS)
    at = models.DateTimeField()

    class Meta:
        ordering = ("number",)
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="lines_in_order")]
        triggers = triggers.for_what_is_told()

    def __str__(self) -> str:
        return self.text

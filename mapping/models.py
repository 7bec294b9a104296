"""Mapping events, and which release of the knowledge the tenant has chosen. Metadata only."""

import uuid_utils.compat
from django.contrib.postgres.fields import ArrayField
from django.db import models

from audit.triggers import append_only
from taxonomy.models import Severity


class Decision(models.TextChoices):
    """What became of one detector output."""

    MAPPED = "mapped", "Mapped"
    SAFE = "safe", "Safe"
    FALLBACK = "fallback", "Unknown label"
    REVIEW = "review", "Needs review"
    ERROR = "error", "Detector error"


class MappingEvent(models.Model):
    """One answered detector output. Written once, never changed; its raw output is not kept.

    The table is partitioned by month of `received_at` (mapping.partitions). PostgreSQL wants the
    partition key in the primary key, so there it is (id, received_at); `id` alone is unique too,
    because it is a UUID of version 7 made here.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    received_at = models.DateTimeField(help_text="When Pillars answered (UTC)")
    occurred_at = models.DateTimeField(null=True, help_text="When the caller says it happened")
    detector = models.CharField(max_length=100)
    detector_version = models.CharField(max_length=128, null=True)  # noqa: DJ001 - unknown, not empty
    vendor = models.CharField(max_length=128, null=True)  # noqa: DJ001
    decision = models.CharField(max_length=8, choices=Decision.choices)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    confidence = models.FloatField(help_text="That the mapping is right, 0 to 1")
    labels = ArrayField(models.CharField(max_length=100))
    scores = models.JSONField(default=dict)
    findings = models.JSONField(default=list)
    output_shape = models.JSONField(default=dict, help_text="Type and size of the raw output")
    environment = models.CharField(max_length=8, null=True)  # noqa: DJ001
    expected_detectors = ArrayField(models.CharField(max_length=128), null=True)
    route = models.CharField(max_length=256, null=True)  # noqa: DJ001
    raw_ref = models.CharField(max_length=512, null=True)  # noqa: DJ001
    metadata = models.JSONField(null=True)
    request_id = models.CharField(max_length=64)
    api_key_id = models.UUIDField()
    release = models.PositiveIntegerField(help_text="Serial of the knowledge release in force")
    taxonomy_version = models.CharField(max_length=32)
    detector_map_version = models.CharField(max_length=32, null=True)  # noqa: DJ001
    model_version = models.CharField(max_length=64, null=True)  # noqa: DJ001
    calibrator_version = models.CharField(max_length=64, null=True)  # noqa: DJ001

    class Meta:
        ordering = ("-id",)
        verbose_name = "event"

    def __str__(self) -> str:
        return f"{self.detector}: {', '.join(self.labels)}"


class PinKind(models.TextChoices):
    """How a choice came about."""

    PIN = "pin", "Pinned"
    APPLY = "apply", "Applied"
    FOLLOW = "follow", "Follows the newest"
    UNDO = "undo", "Undone"


class KnowledgePin(models.Model):
    """One choice of a release by this tenant. The one with the highest number is in force.

    A tenant without any choice follows the newest release, as does one whose last choice names
    no release. The rows are the history: a further choice is a further row.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    number = models.PositiveIntegerField(unique=True, help_text="The tenant's choices in order")
    kind = models.CharField(max_length=6, choices=PinKind.choices)
    release = models.PositiveIntegerField(
        null=True, help_text="Serial of the release; none: whichever is the newest"
    )
    effective = models.PositiveIntegerField(help_text="Serial that was in force from then on")
    previous = models.PositiveIntegerField(help_text="Serial that was in force until then")
    followed = models.BooleanField(help_text="Whether the newest was followed until then")
    made_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    made_at = models.DateTimeField(auto_now_add=True)
    note = models.CharField(max_length=300, blank=True, help_text="Why, in the person's words")
    undo_until = models.DateTimeField(null=True, help_text="None: this choice cannot be undone")

    class Meta:
        ordering = ("-number",)
        verbose_name = "knowledge version choice"
        triggers = append_only()

    def __str__(self) -> str:
        return f"Choice {self.number}"

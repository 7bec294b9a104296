"""Mapping events, and which release of the knowledge the tenant has chosen. Metadata only.

Events keep the labels that they were given. Where a plan carries them to another taxonomy edition,
a row of MigratedLabels beside the event says what is shown instead.
"""

import uuid_utils.compat
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
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
    model_version = models.CharField(  # noqa: DJ001
        max_length=300, null=True, help_text="Both versions, where an output was shared by two"
    )
    calibrator_version = models.CharField(max_length=64, null=True)  # noqa: DJ001

    class Meta:
        ordering = ("-id",)
        verbose_name = "event"

    def __str__(self) -> str:
        return f"{self.detector}: {', '.join(self.labels)}"


class Direction(models.TextChoices):
    """Which way a run carries the tenant's data."""

    APPLY = "apply", "Apply"
    INVERT = "invert", "Invert"


class RunState(models.TextChoices):
    """Where a run stands. `undone`: a later run in the other direction took it back."""

    RUNNING = "running", "Running"
    DONE = "done", "Done"
    UNDONE = "undone", "Taken back"


class MigrationRun(models.Model):
    """One use of a migration plan on the tenant's data, done in batches.

    It stands in the tenant's schema, so it names its plan by editions, version and digest.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    old = models.CharField("from", max_length=16, help_text="Edition that the plan leaves")
    new = models.CharField("to", max_length=16, help_text="Edition that the plan leads to")
    plan_version = models.CharField(max_length=32)
    plan_sha256 = models.CharField(max_length=64)
    direction = models.CharField(max_length=6, choices=Direction.choices)
    state = models.CharField(max_length=7, choices=RunState.choices, default=RunState.RUNNING)
    undoes = models.ForeignKey(
        "self", models.PROTECT, null=True, related_name="undone_by", help_text="Run it takes back"
    )
    stage = models.CharField(max_length=32, blank=True, help_text="The table being carried")
    cursor = models.UUIDField(null=True, help_text="Last row of that table that is done")
    rows_total = models.PositiveBigIntegerField(default=0, help_text="Rows when it began")
    rows_seen = models.PositiveBigIntegerField(default=0, help_text="Rows looked at so far")
    counts = models.JSONField(default=dict, help_text="See mapping.tallies.Tally")
    batch_size = models.PositiveIntegerField()
    background = models.BooleanField(default=False, help_text="A worker carries it on")
    actor = models.CharField(max_length=200)
    started_at = models.DateTimeField(auto_now_add=True)
    moved_at = models.DateTimeField(auto_now=True, help_text="When the last batch was done")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        verbose_name = "migration"
        constraints = [
            # One at a time in a tenant: two would carry the same events to and fro.
            models.UniqueConstraint(
                fields=["state"],
                condition=models.Q(state="running"),
                name="one_running_migration",
            )
        ]

    def __str__(self) -> str:
        return f"{self.source} to {self.target}, plan {self.plan_version}"

    @property
    def source(self) -> str:
        """The edition that labels come from."""
        return self.old if self.direction == Direction.APPLY else self.new

    @property
    def target(self) -> str:
        """The edition that labels are carried to."""
        return self.new if self.direction == Direction.APPLY else self.old


class MigratedLabels(models.Model):
    """The labels that an event is shown with, in another taxonomy edition than its own.

    Derived from the event and the run's plan. `received_at` is the event's: retention deletes both
    together. Of several rows of an event (plans that follow each other) the last one is `shown`.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField()
    received_at = models.DateTimeField()
    run = models.ForeignKey(MigrationRun, models.PROTECT, related_name="rows", db_index=False)
    given_taxonomy = models.CharField(max_length=32, help_text="Edition of the event's own labels")
    taxonomy = models.CharField(max_length=32, help_text="Edition of `labels`")
    labels = ArrayField(models.CharField(max_length=100))
    canonical = ArrayField(
        models.CharField(max_length=100, null=True),
        help_text="The label of each finding, in the order of the event's; null where retired",
    )
    given = ArrayField(models.CharField(max_length=100), help_text="Own labels, with `became`")
    became = ArrayField(
        models.CharField(max_length=100, null=True),
        help_text="What each of `given` is shown as; null where retired",
    )
    lossy = models.BooleanField(help_text="By `labels` alone there is no exact way back")
    shown = models.BooleanField()

    class Meta:
        indexes = [BrinIndex(fields=["received_at"], name="migrated_received_at")]
        constraints = [
            models.UniqueConstraint(fields=["event_id", "run"], name="migrated_once_a_run"),
            models.UniqueConstraint(
                fields=["event_id"], condition=models.Q(shown=True), name="migrated_shown_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.taxonomy}: {', '.join(self.labels)}"


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


class LabelDecision(models.Model):
    """What a person of this tenant decided a detector's label to mean, where no rule maps it.

    The rows are the history: of those with the same detector, version and label the one with the
    highest number counts, and a `withdrawn` one says that nothing is decided any more. Numbers
    are given under a lock, so they are committed in their order.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    number = models.PositiveIntegerField(unique=True, help_text="The tenant's decisions in order")
    detector = models.CharField(max_length=100)
    detector_version = models.CharField(  # noqa: DJ001 - any version, not an empty one
        max_length=128, null=True, help_text="None: any version"
    )
    label = models.CharField(max_length=300, null=True)  # noqa: DJ001 - known by its hash alone
    digest = models.CharField(max_length=64, null=True)  # noqa: DJ001
    canonical = ArrayField(
        models.CharField(max_length=100), help_text="None: the label states no finding"
    )
    taxonomy = models.CharField(max_length=32, help_text="Edition in force when it was decided")
    note = models.CharField(max_length=300, blank=True, help_text="Why, in the person's words")
    decided_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    decided_at = models.DateTimeField(auto_now_add=True)
    withdrawn = models.BooleanField(default=False)
    run = models.UUIDField(null=True, help_text="The taxonomy migration that wrote it, if one did")
    carried_from = models.PositiveIntegerField(
        null=True, help_text="Number of the decision that the migration carried over"
    )

    class Meta:
        ordering = ("-number",)
        verbose_name = "label decision"
        permissions = [("suggest_labeldecision", "Can suggest a label decision for everybody")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(label=None) ^ models.Q(digest=None),
                name="decision_label_or_digest",
            )
        ]
        indexes = [models.Index(fields=["detector", "label"], name="decision_of_a_label")]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.detector}: {self.label or 'a text kept as hash'}"

    @property
    def meaning(self) -> str:
        """The canonical labels, or that there is none."""
        return ", ".join(self.canonical) or "not a finding"


class ReviewReason(models.TextChoices):
    """Why a person is asked."""

    FALLBACK = "fallback", "Unknown label"
    REVIEW = "review", "Uncertain"


class ReviewState(models.TextChoices):
    """Where an item of the review queue stands."""

    OPEN = "open", "Open"
    DECIDED = "decided", "Decided"
    DISMISSED = "dismissed", "Dismissed"


class ReviewItem(models.Model):
    """A detector's label that waits for a person, with how often it came.

    Counted from the events by mapping.review.sweep. Empty `label` and `digest`: the events of all
    labels beyond the limits of `review` in the configuration.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    detector = models.CharField(max_length=100)
    detector_version = models.CharField(max_length=128, blank=True)
    label = models.CharField(max_length=300, blank=True)
    digest = models.CharField(
        max_length=64, blank=True, help_text="Keyed hash of a text that may not be recorded"
    )
    reason = models.CharField(max_length=8, choices=ReviewReason.choices)
    state = models.CharField(max_length=9, choices=ReviewState.choices, default=ReviewState.OPEN)
    events = models.PositiveBigIntegerField(help_text="Events with this label")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    lowest_confidence = models.FloatField()
    last_confidence = models.FloatField(help_text="That the mapping is right, 0 to 1")
    candidates = models.JSONField(
        default=list, help_text="[canonical label, probability], up to five, the likeliest first"
    )
    release = models.PositiveIntegerField(help_text="Serial of the release that mapped it last")
    priority = models.GeneratedField(
        expression=models.F("events") * (models.Value(1.0) - models.F("last_confidence")),
        output_field=models.FloatField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("-priority", "id")
        verbose_name = "label to review"
        verbose_name_plural = "labels to review"
        constraints = [
            models.UniqueConstraint(
                fields=["detector", "detector_version", "label", "digest"],
                name="review_item_once",
            )
        ]
        indexes = [models.Index(fields=["state", "-priority", "id"], name="review_queue")]

    def __str__(self) -> str:
        return f"{self.detector}: {self.label or 'a text kept as hash'}"


class ReviewCursor(models.Model):
    """How far the events are counted in the review items: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    position = models.UUIDField(help_text="Events up to here are counted, save late ones")
    generation = models.PositiveIntegerField(default=0, help_text="Grows when all is counted anew")
    moved_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return str(self.position)


class ReviewSeen(models.Model):
    """A recent event that is counted, so that it is not counted twice (mapping.review.sweep)."""

    event_id = models.UUIDField(primary_key=True, editable=False)

    def __str__(self) -> str:
        return str(self.event_id)


class ThresholdScope(models.TextChoices):
    """What a threshold holds for."""

    TENANT = "tenant", "Every label"
    DETECTOR = "detector", "A detector"
    BRANCH = "branch", "A label or branch"


class ThresholdOverride(models.Model):
    """One choice of a threshold by this tenant. Of each scope and subject the last one is in force.

    The rows are the history: a further choice is a further row, and a row without a value takes
    the tenant's threshold away.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    number = models.PositiveIntegerField(unique=True, help_text="The tenant's choices in order")
    scope = models.CharField(max_length=8, choices=ThresholdScope.choices)
    subject = models.CharField(
        max_length=100, blank=True, help_text="Detector, or label or branch; empty for every label"
    )
    value = models.FloatField(null=True, help_text="Probability, 0 to 1; none: taken away")
    previous = models.FloatField(null=True, help_text="What the tenant had said until then")
    note = models.CharField(max_length=300, blank=True, help_text="Why, in the person's words")
    made_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-number",)
        verbose_name = "threshold"
        triggers = append_only()
        constraints = [
            models.CheckConstraint(
                condition=models.Q(value__isnull=True) | models.Q(value__gte=0, value__lte=1),
                name="threshold_is_a_probability",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.subject}".strip()


class ShadowAnswer(models.Model):
    """What two versions of the model made of one label of this tenant, asked side by side.

    Counted by mapping.serving.shadow, up to its limit for each trial. Labels are those that events
    keep as well: a text that may not be recorded is put to no model.
    """

    id = models.BigAutoField(primary_key=True)
    live = models.CharField(max_length=200, help_text="The version that answered")
    trial = models.CharField(max_length=200, help_text="The version that was asked beside it")
    detector = models.CharField(max_length=100)
    label = models.CharField(max_length=300, help_text="The detector's")
    live_label = models.CharField(max_length=100, help_text="The likeliest answer of each")
    trial_label = models.CharField(max_length=100)
    asked = models.PositiveBigIntegerField(help_text="How often; the last answers are kept")
    first_day = models.DateField()
    last_day = models.DateField()

    class Meta:
        verbose_name = "shadow answer"
        constraints = [
            models.UniqueConstraint(
                fields=["trial", "live", "detector", "label"], name="shadow_answer_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.detector}: {self.label}"

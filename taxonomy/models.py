"""Immutable editions of the knowledge, and the releases that put a set of them in force.

Nothing here is ever changed or deleted: a new edition is a new row, and going back is a new
release of old editions. Events keep the serial of the release that mapped them.
"""

import uuid_utils.compat
from django.contrib.postgres.fields import ArrayField
from django.db import models

from audit.triggers import append_only


class Severity(models.TextChoices):
    """How grave a finding is. `none` is for outcomes that are not findings."""

    NONE = "none", "None"
    INFO = "info", "Info"
    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"
    CRITICAL = "critical", "Critical"


class Immutable(models.Model):
    """A row that can be added, never changed or removed: not even by bulk updates or raw SQL."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)

    class Meta:
        abstract = True
        triggers = append_only()


class Edition(Immutable):
    """A loaded file: its content as JSON, and the digest that tells it from another content."""

    document = models.JSONField()
    sha256 = models.CharField(
        "SHA-256", max_length=64, help_text="Of the content as canonical JSON (sorted, compact)"
    )
    loaded_at = models.DateTimeField(auto_now_add=True)

    class Meta(Immutable.Meta):
        abstract = True


class TaxonomyEdition(Edition):
    """One edition of the canonical taxonomy."""

    edition = models.CharField(max_length=16, unique=True)

    class Meta(Edition.Meta):
        abstract = False
        ordering = ("-edition",)

    def __str__(self) -> str:
        return self.edition


class Label(Immutable):
    """One canonical label of an edition."""

    edition = models.ForeignKey(TaxonomyEdition, models.PROTECT, related_name="labels")
    name = models.CharField(max_length=80)
    parent = models.CharField(max_length=80, help_text="The branch that it belongs to")
    position = models.PositiveSmallIntegerField(help_text="Place in the file")
    meaning = models.CharField(max_length=300)
    boundary = models.CharField(
        max_length=300, blank=True, help_text="Where a neighbouring label takes over"
    )
    severity = models.CharField(
        max_length=8, choices=Severity.choices, help_text="Used where the detector gives none"
    )
    aliases = ArrayField(models.CharField(max_length=60))

    class Meta(Immutable.Meta):
        abstract = False
        ordering = ("edition", "position")
        constraints = [
            models.UniqueConstraint(fields=["edition", "name"], name="label_once_an_edition")
        ]

    def __str__(self) -> str:
        return self.name


class DetectorMap(Edition):
    """One version of a detector's file: what each of its labels means."""

    detector = models.CharField(max_length=100)
    vendor = models.CharField(max_length=128, blank=True)
    version = models.CharField(max_length=32)

    class Meta(Edition.Meta):
        abstract = False
        ordering = ("detector", "-version")
        verbose_name = "detector"
        constraints = [
            models.UniqueConstraint(fields=["detector", "version"], name="detector_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.detector} {self.version}"


class Disposition(models.TextChoices):
    """What becomes of a detector's label."""

    MAPPED = "mapped", "Mapped"
    NOT_A_FINDING = "not_a_finding", "Not a finding"
    UNMAPPED = "unmapped", "Unmapped"


class DetectorLabel(Immutable):
    """One label of a detector, and the canonical labels that it stands for."""

    detector_map = models.ForeignKey(DetectorMap, models.PROTECT, related_name="labels")
    label = models.CharField(max_length=300)
    canonical = ArrayField(models.CharField(max_length=80))
    severity = models.CharField(
        max_length=8, choices=Severity.choices, blank=True, help_text="If not the label's own"
    )
    disposition = models.CharField(max_length=13, choices=Disposition.choices)
    reason = models.TextField(blank=True, help_text="Why it is not mapped")

    class Meta(Immutable.Meta):
        abstract = False
        ordering = ("detector_map", "label")
        constraints = [
            models.UniqueConstraint(fields=["detector_map", "label"], name="detector_label_once")
        ]

    def __str__(self) -> str:
        return self.label


class FrameworkEdition(Edition):
    """One edition of a control framework."""

    framework = models.CharField(max_length=40)
    edition = models.CharField(max_length=40, help_text="The publisher's edition")
    version = models.CharField(max_length=32, help_text="Of our file on that edition")
    name = models.CharField(max_length=300)
    short_name = models.CharField(max_length=60)
    publisher = models.CharField(max_length=200)
    licence = models.CharField(
        max_length=520, help_text="Who holds the rights, and what is shipped"
    )

    class Meta(Edition.Meta):
        abstract = False
        ordering = ("framework", "-edition", "-version")
        verbose_name = "framework"
        constraints = [
            models.UniqueConstraint(
                fields=["framework", "edition", "version"], name="framework_version_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.framework}@{self.edition}"


class Control(Immutable):
    """One control of a framework's edition. The title is ours unless the licence is free."""

    edition = models.ForeignKey(FrameworkEdition, models.PROTECT, related_name="controls")
    code = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    group = models.CharField(max_length=120)
    position = models.PositiveSmallIntegerField(help_text="Place in the file")

    class Meta(Immutable.Meta):
        abstract = False
        ordering = ("edition", "position")
        constraints = [
            models.UniqueConstraint(fields=["edition", "code"], name="control_once_an_edition")
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.title}"


class CrosswalkEdition(Edition):
    """One version of the crosswalk from canonical labels to the controls of a framework."""

    framework = models.ForeignKey(FrameworkEdition, models.PROTECT, related_name="crosswalks")
    version = models.CharField(max_length=32)

    class Meta(Edition.Meta):
        abstract = False
        ordering = ("framework", "-version")
        verbose_name = "crosswalk"
        constraints = [
            models.UniqueConstraint(fields=["framework", "version"], name="crosswalk_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.framework} {self.version}"


class MigrationPlanEdition(Edition):
    """One version of a plan from a taxonomy edition to another. It belongs to no release."""

    old = models.CharField("from", max_length=16, help_text="Edition that the plan leaves")
    new = models.CharField("to", max_length=16, help_text="Edition that it leads to")
    version = models.CharField(max_length=32)

    class Meta(Edition.Meta):
        abstract = False
        ordering = ("-new", "-old", "-id")
        verbose_name = "migration plan"
        constraints = [
            models.UniqueConstraint(fields=["old", "new", "version"], name="plan_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.old} to {self.new}, {self.version}"


class Relationship(models.TextChoices):
    """Label to control, after NIST IR 8477."""

    EQUAL = "equal", "Equal"
    SUBSET = "subset", "Subset"
    SUPERSET = "superset", "Superset"
    INTERSECTS = "intersects", "Intersects"
    NOT_RELATED = "not_related", "Not related"


class Evidence(models.TextChoices):
    """What a finding says about a control."""

    DIRECT = "direct", "Direct"
    SUPPORTING = "supporting", "Supporting"
    NONE = "none", "None"


class CrosswalkRow(Immutable):
    """One statement: findings of a label (or branch) bear on a control."""

    crosswalk = models.ForeignKey(CrosswalkEdition, models.PROTECT, related_name="rows")
    label = models.CharField(max_length=80, help_text="A label, or a branch for all below it")
    control = models.ForeignKey(Control, models.PROTECT, related_name="rows")
    relationship = models.CharField(max_length=11, choices=Relationship.choices)
    evidence = models.CharField(max_length=10, choices=Evidence.choices)
    strength = models.PositiveSmallIntegerField(help_text="0 to 10: what one finding says")
    rationale = models.CharField(max_length=160)

    class Meta(Immutable.Meta):
        abstract = False
        ordering = ("crosswalk", "label", "control")
        constraints = [
            models.UniqueConstraint(
                fields=["crosswalk", "label", "control"], name="crosswalk_row_once"
            ),
            models.CheckConstraint(
                condition=models.Q(strength__lte=10), name="crosswalk_strength_to_10"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} -> {self.control.code}"


class ReleaseSource(models.TextChoices):
    """Where a release was made."""

    FILES = "files", "Files"
    ADMIN = "admin", "Change set"


class KnowledgeRelease(Immutable):
    """A set of editions in force together. The one with the highest serial is in force now."""

    serial = models.PositiveIntegerField(unique=True)
    taxonomy = models.ForeignKey(TaxonomyEdition, models.PROTECT, related_name="releases")
    detectors = models.ManyToManyField(DetectorMap, through="ReleasedDetector")
    frameworks = models.ManyToManyField(FrameworkEdition, through="ReleasedFramework")
    crosswalks = models.ManyToManyField(CrosswalkEdition, through="ReleasedCrosswalk")
    sha256 = models.CharField(
        "SHA-256", max_length=64, help_text="Of the digests of all its editions"
    )
    loaded_at = models.DateTimeField(auto_now_add=True)
    loaded_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    source = models.CharField(
        max_length=5, choices=ReleaseSource.choices, default=ReleaseSource.FILES
    )
    files_serial = models.PositiveIntegerField(
        null=True, help_text="The last release from files that this one stands on"
    )

    class Meta(Immutable.Meta):
        abstract = False
        ordering = ("-serial",)
        verbose_name = "release"

    def __str__(self) -> str:
        return f"Release {self.serial}"


class ReleasedDetector(Immutable):
    """A detector file of a release."""

    release = models.ForeignKey(KnowledgeRelease, models.PROTECT)
    detector_map = models.ForeignKey(DetectorMap, models.PROTECT)

    class Meta(Immutable.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint(
                fields=["release", "detector_map"], name="released_detector_once"
            )
        ]

    def __str__(self) -> str:
        return str(self.detector_map)


class ReleasedFramework(Immutable):
    """A framework edition of a release."""

    release = models.ForeignKey(KnowledgeRelease, models.PROTECT)
    framework = models.ForeignKey(FrameworkEdition, models.PROTECT)

    class Meta(Immutable.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint(fields=["release", "framework"], name="released_framework_once")
        ]

    def __str__(self) -> str:
        return str(self.framework)


class ReleasedCrosswalk(Immutable):
    """A crosswalk of a release."""

    release = models.ForeignKey(KnowledgeRelease, models.PROTECT)
    crosswalk = models.ForeignKey(CrosswalkEdition, models.PROTECT)

    class Meta(Immutable.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint(fields=["release", "crosswalk"], name="released_crosswalk_once")
        ]

    def __str__(self) -> str:
        return str(self.crosswalk)

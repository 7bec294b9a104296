"""Versions of models, who approved them, and which state followed which; in the public schema.

The rules that matter to an auditor are kept by the database (training.triggers): a version never
changes, nobody approves one that they registered or trained, and no state changes unwritten.
"""

import uuid_utils.compat
from django.db import models
from django.db.models import Q

from access.users.models import User
from audit.triggers import append_only
from training import triggers
from training.registry import ModelName


class VersionState(models.TextChoices):
    """Where a version stands. What was live is approved still, until it is retired."""

    DRAFT = "draft", "Draft"
    EVALUATED = "evaluated", "Evaluated"
    APPROVED = "approved", "Approved"
    LIVE = "live", "Live"
    RETIRED = "retired", "Retired"


def _person() -> "models.ForeignKey[User, User]":
    """A person of the platform. People are never deleted, so nothing is looked up on deletion."""
    return models.ForeignKey(User, models.DO_NOTHING, related_name="+")


class ModelVersion(models.Model):
    """One version of an adapter, as its files say (training.registry.package)."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    name = models.CharField(max_length=60)
    version = models.CharField(max_length=20, help_text="1.2.3")
    state = models.CharField(max_length=9, choices=VersionState.choices, default=VersionState.DRAFT)
    adapter_sha256 = models.CharField("SHA-256 of the adapter", max_length=64)
    base = models.CharField("base model", max_length=200)
    base_sha256 = models.CharField("SHA-256 of the base model", max_length=64)
    data_set = models.CharField(max_length=64, help_text="Digest")
    prompt = models.CharField(max_length=32, help_text="Version of the prompt")
    edition = models.CharField("taxonomy", max_length=32)
    encoder = models.CharField(max_length=64, help_text="SHA-256")
    manifest = models.JSONField(help_text="manifest.json: SHA-256 of every file")
    calibrator = models.JSONField()
    training = models.JSONField(help_text="What the training run was told and said")
    evaluation = models.JSONField(null=True)
    card = models.TextField()
    author = _person()  # who registered it
    created_by = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    trained_by = models.CharField(
        max_length=200, blank=True, help_text="user:NAME; as the run says"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        verbose_name = "version of a model"
        verbose_name_plural = "versions of models"
        permissions = [
            ("approve_modelversion", "Can approve versions of models"),
            ("promote_modelversion", "Can promote and retire versions of models"),
            ("roll_back_modelversion", "Can roll back to the version that was live before"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="one_version_a_name"),
            models.UniqueConstraint(
                fields=["state"], condition=Q(state=VersionState.LIVE), name="one_live_version"
            ),
        ]
        triggers = triggers.for_versions()

    def __str__(self) -> str:
        return f"{self.name}@v{self.version}"

    @property
    def named(self) -> ModelName:
        """Name and version."""
        return ModelName.parse(str(self))

    @property
    def served(self) -> str:
        """The adapter's name on servers."""
        return self.named.served


class ApprovalKind(models.TextChoices):
    """What a person said."""

    GIVEN = "given", "approved it"
    WITHDRAWN = "withdrawn", "withdrew the approval"


class ModelApproval(models.Model):
    """A person's yes to a version, or that it was taken back. The last one counts."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="approvals")
    number = models.PositiveIntegerField(help_text="The version's approvals in order")
    kind = models.CharField(max_length=9, choices=ApprovalKind.choices)
    person = _person()
    comment = models.CharField(max_length=300, blank=True, help_text="In the person's words")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=["version", "number"], name="approvals_in_order")
        ]
        triggers = [*append_only(), *triggers.for_approvals()]

    def __str__(self) -> str:
        return f"{self.person.username} {self.get_kind_display()}"


class ModelTransition(models.Model):
    """One step of a version from a state to another; the first one has no state before it."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="transitions")
    number = models.PositiveIntegerField(help_text="The version's steps in order")
    from_state = models.CharField(max_length=9, choices=VersionState.choices, blank=True)
    to_state = models.CharField(max_length=9, choices=VersionState.choices)
    actor = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    reason = models.CharField(max_length=300, blank=True)
    gates = models.JSONField(null=True, help_text="What was checked before a promotion")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=["version", "number"], name="transitions_in_order")
        ]
        triggers = [*append_only(), *triggers.for_transitions()]

    def __str__(self) -> str:
        return f"{self.version}: {self.from_state or 'new'} to {self.to_state}"


class RequestState(models.TextChoices):
    """What became of a request."""

    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    REFUSED = "refused", "Refused"


class PromotionRequest(models.Model):
    """Somebody's wish that a version be promoted: a worker carries it out (training.requests)."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="requests")
    actor = models.CharField(max_length=200, help_text="user:NAME")
    reason = models.CharField(max_length=300, blank=True)
    asked_at = models.DateTimeField()
    state = models.CharField(
        max_length=7, choices=RequestState.choices, default=RequestState.WAITING
    )
    ended_at = models.DateTimeField(null=True)
    message = models.TextField(blank=True, help_text="Why it was refused, and what to do")

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["state"],
                condition=Q(state=RequestState.WAITING),
                name="one_waiting_promotion",
            )
        ]

    def __str__(self) -> str:
        return f"{self.version}: {self.get_state_display()}"

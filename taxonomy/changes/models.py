"""Change sets, what they change, and who approved it.

The rules that matter to an auditor are kept by the database (taxonomy.changes.triggers): nobody
approves a change set that they wrote in, nothing is published without enough approvals, and what
was submitted does not change. django-pghistory keeps every version of these rows, whatever wrote
them.
"""

from typing import Any

import pghistory
import uuid_utils.compat
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from access.users.models import User
from audit.triggers import NO_TRUNCATE, append_only
from taxonomy.changes import triggers
from taxonomy.models import KnowledgeRelease
from taxonomy.objects import Difference, ObjectKey, ObjectKind
from tenants.models import Tenant

EDITABLE = (
    ObjectKind.LABEL,
    ObjectKind.DETECTOR,
    ObjectKind.DETECTOR_LABEL,
    ObjectKind.CROSSWALK_ROW,
)


class State(models.TextChoices):
    """Where a change set stands."""

    DRAFT = "draft", "Draft"
    SUBMITTED = "submitted", "Waiting for approval"
    APPROVED = "approved", "Approved"
    PUBLISHED = "published", "Published"
    ROLLED_BACK = "rolled_back", "Rolled back"
    WITHDRAWN = "withdrawn", "Withdrawn"


OPEN_STATES = (State.DRAFT, State.SUBMITTED, State.APPROVED)


def _person() -> "models.ForeignKey[User, User]":
    """A person of the platform. People are never deleted, so nothing is looked up on deletion."""
    return models.ForeignKey(User, models.DO_NOTHING, related_name="+")


def _kept() -> dict[str, Any]:
    """Meta of a history: it says who wrote in a change set, so nobody empties it either."""
    return {"triggers": [NO_TRUNCATE]}


@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), append_only=True, meta=_kept())
class ChangeSet(models.Model):
    """Edits that are reviewed, approved and published together."""

    number = models.BigAutoField(primary_key=True)
    title = models.CharField(max_length=120)
    reason = models.TextField(max_length=2_000, help_text="Why; the approvers and auditors read it")
    author = _person()
    written_by = models.ForeignKey(
        User, models.DO_NOTHING, related_name="+", null=True,
        help_text="Who last changed its content or submitted it; empty where that was not kept yet",
    )  # fmt: skip
    state = models.CharField(max_length=11, choices=State.choices, default=State.DRAFT)
    revision = models.PositiveIntegerField(
        default=1, help_text="Counts the changes of its content; an approval is of one revision"
    )
    approvals_required = models.PositiveSmallIntegerField(default=1)
    effective_at = models.DateTimeField(
        null=True, blank=True, help_text="Published by itself at this time (UTC) once approved"
    )
    impact = models.JSONField(null=True, help_text="What it would change, by tenant")
    impact_revision = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    submitted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-number",)
        verbose_name = "change set"
        permissions = [("approve_changeset", "Can approve, send back and roll back change sets")]
        constraints = [
            models.CheckConstraint(
                condition=Q(approvals_required__gte=1), name="changeset_wants_an_approval"
            ),
        ]
        triggers = triggers.for_change_sets()

    def __str__(self) -> str:
        return f"{self.title} (#{self.number})"

    @property
    def is_open(self) -> bool:
        """Whether it can still be published."""
        return self.state in OPEN_STATES

    @property
    def is_draft(self) -> bool:
        """Whether its content can change."""
        return self.state == State.DRAFT


@pghistory.track(
    pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(),
    append_only=True, meta=_kept(),
)  # fmt: skip
class Edit(models.Model):
    """What a change set does to one thing: `before` is null for a new one, `after` if it goes."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    change_set = models.ForeignKey(ChangeSet, models.PROTECT, related_name="edits")
    kind = models.CharField(max_length=14, choices=[(k.value, k.name.title()) for k in EDITABLE])
    document = models.CharField(max_length=100, blank=True, help_text="Detector, or framework")
    name = models.CharField(max_length=300, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    open = models.BooleanField(default=True, editable=False, help_text="Kept by the database")
    edited_by = _person()
    edited_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("change_set", "kind", "document", "name")
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "document", "name"],
                condition=Q(open=True),
                name="one_open_change_set_a_thing",
            ),
        ]
        triggers = triggers.for_edits()

    def __str__(self) -> str:
        return str(self.key)

    @property
    def key(self) -> ObjectKey:
        """The thing."""
        return ObjectKey(ObjectKind(self.kind), self.document, self.name)

    @property
    def difference(self) -> Difference:
        """The edit as plain data."""
        return Difference(self.key, self.before, self.after)


class Approval(models.Model):
    """A person's yes to one revision of a change set."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    change_set = models.ForeignKey(ChangeSet, models.PROTECT, related_name="approvals")
    revision = models.PositiveIntegerField()
    approver = _person()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(
                fields=["change_set", "revision", "approver"], name="one_approval_a_person"
            )
        ]
        triggers = [*append_only(), *triggers.for_approvals()]

    def __str__(self) -> str:
        return f"Approval of change set {self.change_set_id}"


class Verb(models.TextChoices):
    """What somebody did to a change set."""

    CREATED = "created", "started the draft"
    COMMENTED = "commented", "commented"
    SUBMITTED = "submitted", "submitted it for approval"
    APPROVED = "approved", "approved it"
    SENT_BACK = "sent_back", "sent it back"
    WITHDRAWN = "withdrawn", "withdrew it"
    PUBLISHED = "published", "published it"
    ROLLED_BACK = "rolled_back", "rolled it back"


class Entry(models.Model):
    """One step or comment in the conversation about a change set."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    change_set = models.ForeignKey(ChangeSet, models.PROTECT, related_name="entries")
    verb = models.CharField(max_length=11, choices=Verb.choices)
    actor = models.CharField(max_length=200, help_text="user:NAME or system:NAME")
    revision = models.PositiveIntegerField()
    text = models.TextField(max_length=2_000, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.who} {self.get_verb_display()}"

    @property
    def who(self) -> str:
        """A person's name; what the system did is named as such."""
        return self.actor.removeprefix("user:")


class Publication(models.Model):
    """The release that a change set became, or that took it back; with a manifest to verify."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    change_set = models.ForeignKey(ChangeSet, models.PROTECT, related_name="publications")
    verb = models.CharField(
        max_length=11,
        choices=[(v.value, v.label) for v in (Verb.PUBLISHED, Verb.ROLLED_BACK)],
    )
    release = models.OneToOneField(KnowledgeRelease, models.PROTECT, related_name="publication")
    manifest = models.JSONField()
    sha256 = models.CharField(
        "SHA-256", max_length=64, help_text="Of the manifest as canonical JSON (sorted, compact)"
    )
    published_by = models.CharField(max_length=200)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=["change_set", "verb"], name="published_once")
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"Change set {self.change_set_id} in release {self.release_id}"


class Notice(models.Model):
    """An e-mail to a person about a change set: written with the step, sent by a worker."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    change_set = models.ForeignKey(ChangeSet, models.PROTECT, related_name="notices")
    recipient = _person()
    subject = models.CharField(max_length=200)
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = [
            models.Index(fields=["id"], condition=Q(sent_at=None), name="notices_to_be_sent")
        ]

    def __str__(self) -> str:
        return self.subject


class SuggestionState(models.TextChoices):
    """What became of a suggestion."""

    OPEN = "open", "Open"
    ADOPTED = "adopted", "In a change set"
    DECLINED = "declined", "Declined"


class Suggestion(models.Model):
    """A tenant's decision on a detector's label, offered to everybody.

    It stands in the public schema and says no more than the tenant's people chose to tell: no
    count, no event, no person.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+")
    detector = models.CharField(max_length=100)
    label = models.CharField(max_length=100)
    canonical = ArrayField(
        models.CharField(max_length=100), help_text="None: the label states no finding"
    )
    taxonomy = models.CharField(max_length=32, help_text="Edition of the canonical labels")
    note = models.CharField(max_length=300, blank=True)
    state = models.CharField(
        max_length=8, choices=SuggestionState.choices, default=SuggestionState.OPEN
    )
    made_at = models.DateTimeField(auto_now_add=True)
    answer = models.CharField(max_length=300, blank=True, help_text="Why it was declined")
    answered_at = models.DateTimeField(null=True)
    change_set = models.ForeignKey(ChangeSet, models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ("-id",)
        verbose_name = "suggestion"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "detector", "label"],
                condition=Q(state=SuggestionState.OPEN),
                name="one_open_suggestion_a_label",
            )
        ]

    def __str__(self) -> str:
        return f"{self.detector}: {self.label}"

    @property
    def meaning(self) -> str:
        """The canonical labels, or that there is none."""
        return ", ".join(self.canonical) or "not a finding"

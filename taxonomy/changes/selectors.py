"""Reads of change sets that pages and services share. They run in the public schema."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db.models import Exists, OuterRef, Q, QuerySet

from access.users.models import User
from taxonomy.changes.models import Approval, ChangeSet, Edit, State
from taxonomy.editing import Candidate, candidate
from taxonomy.errors import NoReleaseError
from taxonomy.objects import ObjectKey, StaleEditError, apply
from taxonomy.selectors import current_documents, current_release


def open_change_sets_of(keys: Iterable[ObjectKey]) -> dict[ObjectKey, ChangeSet]:
    """The open change set in which each thing stands, for those that stand in one."""
    wanted = set(keys)
    found = Edit.objects.filter(
        open=True, kind__in={key.kind for key in wanted}, document__in={k.document for k in wanted}
    ).select_related("change_set__author")
    return {edit.key: edit.change_set for edit in found if edit.key in wanted}


def drafts_for(person: User) -> QuerySet[ChangeSet]:
    """Drafts that the person may add to: their own, newest first."""
    return ChangeSet.objects.filter(state=State.DRAFT, author=person)


def stale_keys(change_set: ChangeSet) -> list[ObjectKey]:
    """Things that are no longer in force as the change set found them.

    Also labels of a detector that has gone, and those that a detector to go has got meanwhile.
    """
    edits = [found.difference for found in change_set.edits.all()]
    if not edits:
        return []
    try:
        apply(current_documents(), edits)
    except StaleEditError as error:
        return list(error.keys)
    return []


def candidate_of(change_set: ChangeSet) -> Candidate:
    """The release that it would make now. Raises StaleEditError, NoReleaseError."""
    base = current_release()
    if base is None:
        raise NoReleaseError("No knowledge is loaded. Run `manage.py load_config`.")
    edited = apply(current_documents(), [found.difference for found in change_set.edits.all()])
    return candidate(edited, base=base)


def wrote_in(change_set: ChangeSet, person: User) -> bool:
    """Whether the person has a part in it: as author, by any edit, description, or submission."""
    parts = (numbers.filter(**{of: change_set.number}) for of, numbers in _parts_of(person))
    return change_set.author_id == person.pk or any(part.exists() for part in parts)


def _parts_of(person: User) -> list[tuple[str, QuerySet[Any]]]:
    """Versions that the person wrote, and the field with the change set's number.

    django-pghistory makes the models when it tracks Edit and ChangeSet.
    """
    edits = apps.get_model("changes", "EditEvent").objects.filter(edited_by_id=person.pk)
    sets = apps.get_model("changes", "ChangeSetEvent").objects.filter(written_by_id=person.pk)
    return [("change_set_id", edits), ("number", sets)]


def waiting_for(person: User) -> QuerySet[ChangeSet]:
    """The person's work list: what they may approve, and their own that were sent back."""
    mine = Q(state__in=(State.DRAFT, State.APPROVED), author=person)
    if not person.has_perm("changes.approve_changeset"):
        return ChangeSet.objects.filter(mine)
    given = Approval.objects.filter(
        approver=person, change_set=OuterRef("pk"), revision=OuterRef("revision")
    )
    approvable = Q(state=State.SUBMITTED) & ~Q(author=person)
    for of, numbers in _parts_of(person):
        approvable &= ~Q(number__in=numbers.values(of))
    return ChangeSet.objects.filter(mine | (approvable & ~Exists(given)))


def due(now: datetime) -> QuerySet[ChangeSet]:
    """Approved change sets whose time has come, in the order of their times."""
    waiting = ChangeSet.objects.filter(state=State.APPROVED, effective_at__lte=now)
    return waiting.order_by("effective_at", "number")

"""Suggestions of tenants: made in a tenant's admin, adopted or declined in the platform's.

A tenant's people see their own tenant's alone: every read for them names the tenant.
"""

import re
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from access.users.models import User
from audit.services import record
from taxonomy.changes import services
from taxonomy.changes.errors import ChangeError
from taxonomy.changes.models import ChangeSet, Suggestion, SuggestionState
from taxonomy.objects import ObjectKey, ObjectKind
from taxonomy.selectors import current_documents
from tenants.context import public_context

# As the engine looks labels up: case and the kind of separator do not matter.
_SEPARATORS = re.compile(r"[\s_\-/]+")


def suggest(
    *,
    tenant: uuid.UUID,
    detector: str,
    label: str,
    canonical: Sequence[str],
    taxonomy: str,
    note: str = "",
) -> Suggestion:
    """Offer what a label means to everybody. Raises ChangeError if it is offered already."""
    with public_context(), transaction.atomic():
        offered = Suggestion.objects.filter(
            tenant_id=tenant, detector=detector, label=label, state=SuggestionState.OPEN
        )
        if offered.exists():
            raise ChangeError(
                f"{detector}: {label} is suggested already. Wait until the platform has answered."
            )
        return Suggestion.objects.create(
            tenant_id=tenant, detector=detector, label=label, canonical=list(canonical),
            taxonomy=taxonomy, note=note.strip()[:300],
        )  # fmt: skip


def own_suggestion(*, tenant: uuid.UUID, detector: str, label: str) -> Suggestion | None:
    """The tenant's last suggestion for a label."""
    with public_context():
        return Suggestion.objects.filter(tenant_id=tenant, detector=detector, label=label).first()


def adopt(*, suggestion: uuid.UUID, author: User) -> ChangeSet:
    """Put an open suggestion into a new draft of the author's. Raises ChangeError.

    A detector without a file is refused: a mapping needs recipes and further labels.
    """
    with public_context(), transaction.atomic():
        found = _open(suggestion)
        key, after = _edit(found)
        said = f" {found.note}" if found.note else ""
        change_set = services.start(
            title=f"{found.detector}: {found.label}"[:120],
            reason=f"Suggested by {found.tenant.name}, who maps it to {found.meaning}.{said}",
            author=author,
        )
        services.edit(number=change_set.number, key=key, after=after, editor=author)
        _answer(found, SuggestionState.ADOPTED, author, change_set=change_set)
    return change_set


def decline(*, suggestion: uuid.UUID, answer: str, person: User) -> Suggestion:
    """Say no, with the reason: the tenant reads it. Raises ChangeError."""
    if not answer.strip():
        raise ChangeError("Say why: the tenant reads it.")
    with public_context(), transaction.atomic():
        found = _open(suggestion)
        _answer(found, SuggestionState.DECLINED, person, answer=answer.strip()[:300])
    return found


def _open(suggestion: uuid.UUID) -> Suggestion:
    rows = Suggestion.objects.select_for_update(of=("self",)).select_related("tenant")
    found = rows.filter(pk=suggestion).first()
    if found is None:
        raise ChangeError("There is no such suggestion.")
    if found.state != SuggestionState.OPEN:
        raise ChangeError(f"{found} is answered already: {found.get_state_display().lower()}.")
    return found


def _answer(found: Suggestion, state: SuggestionState, person: User, **more: Any) -> None:
    found.state, found.answered_at = state, timezone.now()
    for name, value in more.items():
        setattr(found, name, value)
    found.save()
    record(
        action=f"suggestion.{state.value}",
        actor=services.actor_of(person),
        target=str(found),
        detail={
            "tenant": found.tenant.slug,
            "canonical": found.canonical,
            "change_set": found.change_set_id,
        },
    )


def _edit(found: Suggestion) -> tuple[ObjectKey, dict[str, Any]]:
    """The edit of the detector's mapping, with what the file says of the label otherwise."""
    documents = current_documents()
    file = next((d for d in documents.detectors if d["detector"] == found.detector), None)
    if file is None:
        raise ChangeError(
            f"{found.detector} has no detector file, so there is no mapping to change. Use “Add a "
            "detector” with the vendor's whole list of labels, and decline this suggestion."
        )
    gone = [name for name in found.canonical if name not in documents.taxonomy["labels"]]
    if gone:
        raise ChangeError(
            f"{', '.join(gone)}: not in taxonomy {documents.taxonomy['edition']}, which is in "
            "force. Decline the suggestion, or edit the rule by hand."
        )
    label = _as_the_file_spells(found.label, file["labels"])
    before = file["labels"].get(label, {})
    if "unmapped" not in before and before:
        raise ChangeError(f"{found.detector}: {label} has a rule already. Decline the suggestion.")
    after = {name: value for name, value in before.items() if name != "unmapped"}
    if not found.canonical:
        after["not_a_finding"] = (found.note or f"suggested by {found.tenant.name}")[:200]
        if len(after["not_a_finding"]) < 5:
            after["not_a_finding"] = f"no finding: {after['not_a_finding']}"
    else:
        after["canonical"] = found.canonical[0] if len(found.canonical) == 1 else found.canonical
    return ObjectKey(ObjectKind.DETECTOR_LABEL, found.detector, label), after


def _as_the_file_spells(label: str, labels: dict[str, Any]) -> str:
    """The spelling of the file, where it differs in case and separators alone."""
    if label in labels:
        return label
    return next((name for name in labels if _folded(name) == _folded(label)), label)


def _folded(text: str) -> str:
    return _SEPARATORS.sub("_", text.strip().casefold())

"""What the page of a change set shows: differences, warnings, impact, conversation, history."""

from datetime import datetime
from typing import Any

from django.apps import apps
from django.db.models import Model

from pillars.badges import state_badge
from taxonomy.changes.models import ChangeSet, Publication, State
from taxonomy.changes.publishing import manifest_is_intact
from taxonomy.changes.selectors import candidate_of, stale_keys
from taxonomy.editing import problems_of
from taxonomy.errors import NoReleaseError
from taxonomy.objects import StaleEditError
from taxonomy.wording import present

_HISTORY = 50  # versions shown of a change set and of its edits


def page_of(change_set: ChangeSet) -> dict[str, Any]:
    """The context of the page."""
    edits = list(change_set.edits.select_related("edited_by"))
    approvals = change_set.approvals.filter(revision=change_set.revision)
    stale = stale_keys(change_set) if change_set.is_open else []
    return {
        "change_set": change_set,
        "edits": edits,
        "groups": present(edit.difference for edit in edits),
        "stale": stale,
        "problems": [] if stale else _problems(change_set),
        "approvals": list(approvals.select_related("approver")),
        "approvals_given": approvals.count(),
        "publications": [_publication(one) for one in change_set.publications.all()],
        "entries": change_set.entries.all(),
        "impact": _impact(change_set),
        "history": _history(change_set),
    }


def _problems(change_set: ChangeSet) -> list[str]:
    """Why a draft could not be published as it is; what was submitted has been checked."""
    if not change_set.is_draft or not change_set.edits.exists():
        return []
    try:
        return problems_of(candidate_of(change_set))
    except (StaleEditError, NoReleaseError) as error:
        return [str(error)]


def _publication(publication: Publication) -> dict[str, Any]:
    intact = manifest_is_intact(publication)
    return {
        "publication": publication,
        "check": state_badge(*(("ok", "Intact") if intact else ("failed", "Altered"))),
        "rolled_back": publication.verb == State.ROLLED_BACK,
    }


def _impact(change_set: ChangeSet) -> dict[str, Any] | None:
    """The counts, with sums; `outdated` if edits came after they were made."""
    if change_set.impact is None:
        return None
    tenants = change_set.impact["tenants"]
    touched = [row for row in tenants if any(row.get(k) for k in ("events", "reports"))]
    return {
        **change_set.impact,
        "counted": datetime.fromisoformat(change_set.impact["counted_at"]),
        "touched": touched,
        "untouched": len(tenants) - len(touched),
        "outdated": change_set.is_open and change_set.impact_revision != change_set.revision,
        "sums": {name: sum(row.get(name, 0) for row in tenants) for name in ("events", "reports")},
    }


def _history(change_set: ChangeSet) -> list[dict[str, Any]]:
    """Every version of its rows, newest first, also of writes that went around the application."""
    rows = [
        *_versions("ChangeSetEvent", number=change_set.number),
        *_versions("EditEvent", change_set_id=change_set.number),
    ]
    return sorted(rows, key=lambda row: row["at"], reverse=True)[:_HISTORY]


def _versions(model: str, **of: Any) -> list[dict[str, Any]]:
    events: type[Model] = apps.get_model("changes", model)
    found = events._default_manager.filter(**of).select_related("pgh_context")
    return [_version(event) for event in found.order_by("-pgh_id")[:_HISTORY]]


def _version(event: Any) -> dict[str, Any]:
    context = event.pgh_context
    if hasattr(event, "state"):
        what = f"Change set, revision {event.revision}, {event.get_state_display().lower()}"
    else:
        what = f"Edit of {event.document or 'the taxonomy'}: {event.name or 'the whole file'}"
    return {
        "at": event.pgh_created_at,
        "happened": event.pgh_label,
        "what": what,
        "by": context.metadata.get("actor", "") if context else "",
    }

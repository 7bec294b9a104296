"""What a change set would change for each tenant, counted over the last days of its data."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from pillars import queue
from taxonomy.changes.models import ChangeSet
from taxonomy.changes.services import step
from taxonomy.changes.signals import impact_asked
from taxonomy.objects import ARROW, ObjectKey, ObjectKind
from taxonomy.selectors import KnowledgeDocuments, current_documents
from taxonomy.validation import branches, canonical_labels
from tenants.context import public_context, tenant_context
from tenants.selectors import TenantRef, active_tenants


@dataclass(slots=True)
class Affected:
    """What events may show that a set of edits touches.

    `labels`: canonical labels. `detector_labels`: (detector, its label). `detectors`: whole ones.
    `crosswalks`: `framework@edition`, with the canonical labels whose rows change.
    """

    labels: set[str] = field(default_factory=set)
    detector_labels: set[tuple[str, str]] = field(default_factory=set)
    detectors: set[str] = field(default_factory=set)
    crosswalks: dict[str, set[str]] = field(default_factory=dict)
    rules: set[tuple[str, str]] = field(default_factory=set)

    @property
    def event_labels(self) -> list[str]:
        """Canonical labels of which an event is touched, whatever file changes."""
        return sorted(self.labels.union(*self.crosswalks.values()))


def affected_by(keys: Iterable[ObjectKey], documents: KnowledgeDocuments) -> Affected:
    """What the things that change stand for in events and rules."""
    found = Affected()
    known = list(documents.taxonomy["labels"])
    for key in keys:
        match key.kind:
            case ObjectKind.LABEL:
                found.labels.add(key.name)
            case ObjectKind.DETECTOR_LABEL:
                found.detector_labels.add((key.document, key.name))
            case ObjectKind.DETECTOR | ObjectKind.FRAMEWORK:
                found.detectors.add(key.document)
            case ObjectKind.CROSSWALK_ROW:
                branch = key.name.partition(ARROW)[0]
                below = {label for label in known if branch in branches(label)}
                found.crosswalks.setdefault(key.document, set()).update(below)
    for detector in documents.detectors:
        name = detector["detector"]
        for label, meaning in detector["labels"].items():
            mapped = set(canonical_labels(meaning)) & found.labels
            if mapped or name in found.detectors or (name, label) in found.detector_labels:
                found.rules.add((name, label))
    return found


def ask_for_impact(*, number: int) -> None:
    """Have a worker count; the page shows the numbers when they are there."""
    queue.dispatch("changes.count_impact", number=number)


def count_impact(*, number: int) -> dict[str, Any]:
    """Count and keep the impact of a change set as it is now. Reads every active tenant."""
    days = settings.CONFIG.governance.impact_days
    with public_context():
        change_set = ChangeSet.objects.get(number=number)
        keys = [edit.key for edit in change_set.edits.all()]
        affected = affected_by(keys, current_documents())
        tenants = [TenantRef.of(tenant) for tenant in active_tenants().order_by("slug")]
    since = timezone.now() - timedelta(days=days)
    rows = [{"tenant": tenant.slug, **_of_tenant(tenant, affected, since)} for tenant in tenants]
    counted = {
        "days": days,
        "counted_at": timezone.now().isoformat(timespec="seconds"),
        "rules": len(affected.rules),
        "tenants": rows,
    }
    with step(number=number, actor="system:impact", revision=None) as kept:
        kept.impact, kept.impact_revision = counted, change_set.revision
        kept.save(update_fields=["impact", "impact_revision"])
    return counted


def _of_tenant(tenant: TenantRef, affected: Affected, since: Any) -> dict[str, int]:
    with tenant_context(tenant):
        answers: list[Any] = impact_asked.send(ChangeSet, affected=affected, since=since)
    return {name: count for _, answer in answers for name, count in answer.items()}

"""Reads of the review queue and of decisions, in the tenant that is active."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from mapping.engine import recordable_label
from mapping.models import LabelDecision, ReviewItem, ReviewState
from tenants.context import require_tenant

_KEY = ("detector", "detector_version", "label", "digest")


def newest_number() -> int | None:
    """Number of the tenant's last decision or withdrawal: it changes with each of them."""
    require_tenant()
    return LabelDecision.objects.order_by("-number").values_list("number", flat=True).first()


def approved_decisions() -> QuerySet[LabelDecision]:
    """The decisions in force, in the order in which they were made."""
    newest = newest_of_each()
    return LabelDecision.objects.filter(pk__in=newest, withdrawn=False).order_by("number")


def newest_of_each() -> QuerySet[LabelDecision, Any]:
    """Ids of the last decision or withdrawal for each detector, version and label."""
    require_tenant()
    return LabelDecision.objects.order_by(*_KEY, "-number").distinct(*_KEY).values("pk")


def in_force(decision: LabelDecision) -> bool:
    """Whether it counts: not withdrawn, and no later one for the same label and version."""
    return not decision.withdrawn and not later(decision).exists()


def later(decision: LabelDecision) -> QuerySet[LabelDecision]:
    """What came after a decision for the same detector, version and label."""
    key = {name: getattr(decision, name) for name in _KEY}
    return LabelDecision.objects.filter(**key, number__gt=decision.number)


def decisions_on(item: ReviewItem) -> QuerySet[LabelDecision]:
    """Everything that was decided for the label of an item, in any version, newest first."""
    return LabelDecision.objects.filter(
        detector=item.detector, label=item.label or None, digest=item.digest or None
    ).order_by("-number")


def items() -> QuerySet[ReviewItem]:
    """The items of the review queue, the most urgent first; without the overflow."""
    require_tenant()
    return ReviewItem.objects.exclude(label="", digest="")


def overflow() -> QuerySet[ReviewItem]:
    """The rows that count what came beyond the limits."""
    require_tenant()
    return ReviewItem.objects.filter(label="", digest="")


def next_item(queue: QuerySet[ReviewItem], after: ReviewItem) -> ReviewItem | None:
    """The open item after this one, in the order of the queue; at its end the first again."""
    return _neighbour(queue.filter(state=ReviewState.OPEN), after, forward=True)


def previous_item(queue: QuerySet[ReviewItem], before: ReviewItem) -> ReviewItem | None:
    """The open item before this one; at the beginning the last."""
    return _neighbour(queue.filter(state=ReviewState.OPEN), before, forward=False)


def _neighbour(
    queue: QuerySet[ReviewItem], item: ReviewItem, *, forward: bool
) -> ReviewItem | None:
    others = queue.exclude(pk=item.pk)
    order = ("-priority", "id") if forward else ("priority", "-id")
    than, beyond = ("lt", "gt") if forward else ("gt", "lt")
    ordered = others.order_by(*order)
    behind = ordered.filter(**{f"priority__{than}": item.priority}) | ordered.filter(
        priority=item.priority, **{f"id__{beyond}": item.pk}
    )
    return behind.first() or ordered.first()


@dataclass(frozen=True, slots=True)
class ExportedDecision:
    """One line of an export: a label that may be recorded, and one that it stands for."""

    detector: str
    version: str | None
    label: str
    canonical: str | None  # None: not a finding

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "detector": self.detector, "version": self.version, "label": self.label,
            "canonical": self.canonical,
        }  # fmt: skip


def exported_decisions() -> Iterator[ExportedDecision]:
    """The decisions in force on labels that may be recorded: one for each canonical label."""
    for one in approved_decisions():
        if one.label is None or not recordable_label(one.label):
            continue
        targets: list[str | None] = [*one.canonical] or [None]
        for canonical in targets:
            yield ExportedDecision(one.detector, one.detector_version, one.label, canonical)

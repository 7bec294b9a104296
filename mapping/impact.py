"""How many events and rules of a tenant a change of the knowledge touches."""

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q

from mapping.engines import pinned_serial
from mapping.models import MigratedLabels
from mapping.selectors import events
from taxonomy.changes.impact import Affected


def touched_events(affected: Affected) -> Q:
    """The condition that an event is touched: by a canonical label, or by what a detector said.

    An event that a migration has carried counts by the labels that it is shown with, as in reports.
    """
    wanted = Q(pk__in=())
    if affected.event_labels:
        carried = MigratedLabels.objects.filter(event_id=OuterRef("id"), shown=True)
        wanted |= Q(Exists(carried.filter(labels__overlap=affected.event_labels)))
        wanted |= Q(labels__overlap=affected.event_labels) & ~Q(Exists(carried))
    if affected.detectors:
        wanted |= Q(detector__in=sorted(affected.detectors))
    for detector, label in sorted(affected.detector_labels):
        if detector in affected.detectors:
            continue  # all its events are counted already; a new one may bring a thousand labels
        wanted |= Q(detector=detector, findings__contains=[{"source_label": label}])
    return wanted


def count_for_change_set(*, affected: Affected, since: datetime, **_kwargs: Any) -> dict[str, int]:
    """Receiver of impact_asked: events since then that are touched, and rules they came by.

    `pinned` is the release that the tenant has chosen, to which no publication comes at once; 0 if
    it follows the newest.
    """
    recent = events().filter(received_at__gte=since)
    used = set(recent.order_by().values_list("detector", flat=True).distinct())
    return {
        "events": recent.filter(touched_events(affected)).count(),
        "rules": sum(detector in used for detector, _ in affected.rules),
        "pinned": pinned_serial() or 0,
    }

"""How many finished reports of a tenant a change of the knowledge touches."""

from datetime import datetime
from typing import Any

from mapping.impact import touched_events
from mapping.selectors import events
from reporting.models import Report, ReportState
from reporting.selectors import reports
from taxonomy.changes.impact import Affected


def count_for_change_set(*, affected: Affected, since: datetime, **_kwargs: Any) -> dict[str, int]:
    """Receiver of impact_asked: reports since then that would come out otherwise if made now."""
    recent = reports().filter(state=ReportState.DONE, requested_at__gte=since)
    found = recent.prefetch_related(None).iterator()
    return {"reports": sum(_is_touched(report, affected) for report in found)}


def _is_touched(report: Report, affected: Affected) -> bool:
    only_crosswalks = not (affected.labels or affected.detectors or affected.detector_labels)
    if only_crosswalks and f"{report.framework}@{report.edition}" not in affected.crosswalks:
        return False
    counted = events().filter(received_at__gte=report.starts_at, received_at__lt=report.ends_before)
    return counted.filter(touched_events(affected)).exists()

"""What the start pages of the two admins tell. Every query is bounded; none visits all tenants."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from access.keys.models import ApiKey
from access.usage.models import KeyUse
from access.users.models import User
from audit.models import AuditEntry
from mapping.mode import read_mode
from mapping.models import Decision
from mapping.overview import (
    DAYS,
    DECISION_ORDER,
    SCAN_LIMIT,
    SEVERITY_ORDER,
    Overview,
    has_events,
    tenant_overview,
)
from mapping.pins import TenantKnowledge, tenant_knowledge
from pillars import health
from pillars.badges import state_badge
from reporting.models import Report
from taxonomy.changes.selectors import waiting_for
from taxonomy.errors import NoReleaseError
from taxonomy.models import KnowledgeRelease, Severity
from taxonomy.selectors import current_release
from tenants.context import current_schema
from tenants.models import Tenant, TenantState

EXPIRING = timedelta(days=14)
UNUSED = timedelta(days=30)
_LATEST = 6
_PART_NAMES = {"pdf": "PDF reports"}
_CHART = {"width": 640, "height": 190, "left": 44, "bottom": 24, "top": 8}


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar list: `percent` of the longest bar."""

    title: str
    value: str
    count: int
    count_day: int
    percent: int
    badge: Any


def tenant() -> dict[str, Any]:
    """The start page of the tenant that is active."""
    overview = tenant_overview()
    return {
        "overview": overview,
        "newcomer": not overview.total and not has_events(),
        "decisions": _bars(DECISION_ORDER, Decision, overview.decisions, overview.decisions_day),
        "severities": _bars(SEVERITY_ORDER, Severity, overview.severities, overview.severities_day),
        "grave": overview.severities["critical"] + overview.severities["high"],
        "grave_day": overview.severities_day["critical"] + overview.severities_day["high"],
        "labels": _label_bars(overview.labels),
        "chart": _chart(overview),
        "days": DAYS,
        "whole": overview.counted_since is None,
        "scan_limit": SCAN_LIMIT,
        "reports": [
            {"report": report, "badge": state_badge(report.state, report.get_state_display())}
            for report in Report.objects.order_by("-id")[:_LATEST]
        ],
        # Evaluated by the template, for those alone who may see them.
        "knowledge": _knowledge,
        "keys_expiring": _own_keys().filter(expires_at__lt=timezone.now() + EXPIRING)[:_LATEST],
        "keys_unused": _unused_keys,
        "keys_active": _own_keys,
    }


def _knowledge() -> TenantKnowledge | None:
    """The release that the active tenant works with; None if nothing was ever loaded."""
    try:
        return tenant_knowledge()
    except NoReleaseError:
        return None


def _own_keys() -> QuerySet[ApiKey]:
    """Active keys of the tenant that is active."""
    live = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(live, tenant__schema_name=current_schema(), revoked_at=None)


def _unused_keys() -> list[ApiKey]:
    """Keys older than UNUSED without any use since."""
    since = timezone.now() - UNUSED
    used = KeyUse.objects.filter(day__gte=since.date()).values("key_id")
    return list(_own_keys().filter(created_at__lt=since).exclude(pk__in=used)[:_LATEST])


def _bars(order: Any, choices: Any, counts: Any, counts_day: Any) -> list[Bar]:
    longest = max(counts.values(), default=0) or 1
    return [
        Bar(
            choices(value).label, value, counts[value], counts_day[value],
            round(100 * counts[value] / longest), state_badge(value, choices(value).label),
        )
        for value in order
    ]  # fmt: skip


def _label_bars(labels: list[tuple[str, int]]) -> list[Bar]:
    longest = max((count for _, count in labels), default=0) or 1
    return [
        Bar(label, label, count, 0, round(100 * count / longest), None) for label, count in labels
    ]


def _chart(overview: Overview) -> dict[str, Any]:
    """Stacked columns by day, as coordinates for the template's SVG."""
    totals = {day: sum(overview.on(day).values()) for day in overview.dates}
    top = _round_up(max(totals.values(), default=0))
    plot = _CHART["height"] - _CHART["bottom"] - _CHART["top"]
    step = (_CHART["width"] - _CHART["left"]) / len(overview.dates)
    columns = []
    for index, day in enumerate(overview.dates):
        x = _CHART["left"] + index * step
        columns.append(
            {
                "day": day,
                "total": totals[day],
                "center": round(x + step / 2, 1),
                "pieces": _pieces(overview, day, x + step * 0.2, plot / top),
                "width": round(step * 0.6, 1),
                "counts": [overview.on(day)[d] for d in DECISION_ORDER],
            }
        )
    grid = [
        {"value": _short(round(top * part)), "y": round(_CHART["top"] + plot * (1 - part), 1)}
        for part in (0, 0.5, 1)
    ]
    return {**_CHART, "columns": columns, "grid": grid, "titles": [d.label for d in Decision]}


def _pieces(overview: Overview, day: date, x: float, scale: float) -> list[dict[str, Any]]:
    floor: float = _CHART["height"] - _CHART["bottom"]
    pieces = []
    for decision in DECISION_ORDER:
        count = overview.on(day)[decision]
        if not count:
            continue
        height = max(count * scale, 1)
        floor -= height
        pieces.append(
            {"decision": decision, "title": Decision(decision).label, "count": count,
             "x": round(x, 1), "y": round(floor, 1), "height": round(height, 1)}
        )  # fmt: skip
    return pieces


def _round_up(value: int) -> int:
    """The next 1, 2 or 5 times a power of ten; an even number, for the line in the middle."""
    step = 1
    while True:
        for factor in (2, 4, 10):
            if value <= factor * step:
                return factor * step
        step *= 10


def _short(value: int) -> str:
    """1200000 as 1.2M: an axis has little room."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return str(value)


def platform(person: User) -> dict[str, Any]:
    """The start page of the platform, with the person's work list."""
    release = current_release()
    return {
        "mode": read_mode(),
        "tenant_states": _tenant_states(),
        "tenants_waiting": Tenant.objects.filter(
            state__in=(TenantState.PENDING, TenantState.PROVISIONING, TenantState.FAILED)
        ).order_by("state_changed_at")[:_LATEST],
        "work": [
            {"change_set": one, "badge": state_badge(one.state, one.get_state_display())}
            for one in waiting_for(person).select_related("author")[:_LATEST]
        ],
        "release": release,
        "release_facts": _release_facts(release) if release else {},
        "parts": _parts(),
        "audit": [
            {"entry": entry, "detail": _detail(entry.detail)}
            for entry in AuditEntry.objects.order_by("-id")[:10]
        ],
        "keys_active": ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None
        ).count(),
    }


def _detail(detail: dict[str, Any]) -> str:
    """An audit entry's detail in a line: lists by their length."""
    parts = (
        f"{name}: {len(value)}" if isinstance(value, list | dict) else f"{name}: {value}"
        for name, value in detail.items()
        if value
    )
    return ", ".join(parts)


def _tenant_states() -> list[Bar]:
    rows = Tenant.objects.order_by().values_list("state").annotate(count=Count("pk"))
    counts: dict[str, int] = dict(rows)
    longest = max(counts.values(), default=0) or 1
    return [
        Bar(state.label, state.value, counts.get(state.value, 0), 0,
            round(100 * counts.get(state.value, 0) / longest),
            state_badge(state.value, state.label))
        for state in TenantState
        if counts.get(state.value) or state == TenantState.ACTIVE
    ]  # fmt: skip


def _release_facts(release: KnowledgeRelease) -> dict[str, Any]:
    frameworks = release.frameworks.order_by("framework", "edition")
    return {
        "labels": release.taxonomy.labels.count(),
        "detectors": release.detectors.count(),
        "frameworks": frameworks,
    }


def _parts() -> list[dict[str, Any]]:
    """Each part that /health/ready checks, with its own words."""
    parts = []
    for name, check in health.CHECKS.items():
        state = check()
        fine = state == "ok"
        parts.append(
            {
                "name": _PART_NAMES.get(name, name.capitalize()),
                "state": state,
                "fine": fine,
                "required": name in health.REQUIRED,
                "badge": state_badge(*(("ok", "Works") if fine else ("failed", "Does not work"))),
            }
        )
    return parts

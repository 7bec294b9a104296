"""Events in a tenant's admin: to browse, never to change.

The table may hold very many rows and has one index, (id, received_at), for the sake of fast
inserts. So: newest first and no other order, no counts, and a query that takes too long ends with
advice instead of holding the database.
"""

import re
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite, ShowFacets
from django.db import OperationalError, connection, transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeDateTimeFilter,
    TextFilter,
)
from unfold.decorators import display

from access.keys.models import ApiKey
from mapping.models import (
    KnowledgePin,
    LabelDecision,
    MappingEvent,
    MigratedLabels,
    MigrationRun,
    ReviewItem,
    ThresholdOverride,
)
from mapping.overview import first_id_at
from mapping.pin_admin import KnowledgePinAdmin
from mapping.review.decision_admin import LabelDecisionAdmin
from mapping.review.queue_admin import ReviewItemAdmin
from mapping.selectors import (
    NoKnowledgeError,
    engine_in_force,
    events,
    migrated_labels,
    with_label,
)
from mapping.tallies import Tally
from mapping.threshold_admin import ThresholdOverrideAdmin
from pillars.admin import PillarsAdmin, WindowPaginator
from pillars.badges import state_badge
from taxonomy.models import Evidence, KnowledgeRelease
from taxonomy.selectors import controls_for
from tenants.context import require_tenant

QUERY_MILLISECONDS = 8_000
_LABEL = re.compile(r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")
# Value -> title, length, and whether it begins at midnight, as the days of the start page do.
_PERIODS = {
    "1h": ("Last hour", timedelta(hours=1), False),
    "24h": ("Last 24 hours", timedelta(hours=24), False),
    "7d": ("Last 7 days, from midnight UTC", timedelta(days=6), True),
    "30d": ("Last 30 days, from midnight UTC", timedelta(days=29), True),
}


class PeriodFilter(DropdownFilter):
    """The usual periods, as a range of ids: an index answers it."""

    title = "period"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Value and title."""
        return [(value, title) for value, (title, *_) in _PERIODS.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MappingEvent]
    ) -> QuerySet[MappingEvent]:
        """Events since then."""
        if self.value() not in _PERIODS:
            return queryset
        _, length, whole_days = _PERIODS[self.value()]
        since = timezone.now() - length
        if whole_days:
            since = since.replace(hour=0, minute=0, second=0, microsecond=0)
        return queryset.filter(
            id__gte=first_id_at(since - timedelta(minutes=1)), received_at__gte=since
        )


class DetectorFilter(DropdownFilter):
    """The detectors that the knowledge in force has a file for; others are found by search."""

    title = "detector"
    parameter_name = "detector"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Names, without a look at the events."""
        try:
            tenant = request.host_tenant  # type: ignore[attr-defined]
            names = sorted(engine_in_force(tenant).engine.knowledge.detectors)
        except NoKnowledgeError:
            return []
        return [(name, name) for name in names]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MappingEvent]
    ) -> QuerySet[MappingEvent]:
        """Events of one detector."""
        return queryset.filter(detector=self.value()) if self.value() else queryset


class LabelFilter(TextFilter):
    """A canonical label or a branch, such as PII."""

    title = "label or branch"
    parameter_name = "label"

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MappingEvent]
    ) -> QuerySet[MappingEvent]:
        """Events with such a label; none for what cannot be a label."""
        label = (self.value() or "").strip()
        if not label:
            return queryset
        return with_label(queryset, label) if _LABEL.match(label) else queryset.none()


class EventAdmin(PillarsAdmin):
    """Mapped detector outputs."""

    list_display = (
        "received", "detector", "decision_shown", "severity_shown", "labels_shown",
        "confidence_shown",
    )  # fmt: skip
    list_display_links = ("received", "detector")
    list_filter = (
        PeriodFilter,
        DetectorFilter,
        ("decision", ChoicesDropdownFilter),
        ("severity", ChoicesDropdownFilter),
        LabelFilter,
        ("received_at", RangeDateTimeFilter),
    )
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 0
    paginator = WindowPaginator
    show_facets = ShowFacets.NEVER
    search_fields = ("id",)  # shows the box; get_search_results does the search
    search_help_text = "Event id, request id, label or detector"
    change_form_template = "mapping/event.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MappingEvent]:
        shown = MigratedLabels.objects.filter(event_id=OuterRef("id"), shown=True)
        return events().annotate(migrated=Subquery(shown.values("labels")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[MappingEvent], search_term: str
    ) -> tuple[QuerySet[MappingEvent], bool]:
        """Exact matches only: there is no index that a search in the middle could use."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            event_id = uuid.UUID(term)
        except ValueError:
            pass
        else:
            return queryset.filter(Q(id=event_id) | Q(request_id=term)), False
        named = queryset.filter(Q(detector=term.lower()) | Q(request_id=term))
        if _LABEL.match(term) and (("." in term) or term.isupper()):
            return with_label(queryset, term), False
        return named, False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, within a time limit."""
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {QUERY_MILLISECONDS}")
                response: HttpResponse = super().changelist_view(request, extra_context)
        except OperationalError as error:
            if "statement timeout" not in str(error) or request.GET.get("period") == "1h":
                raise
            messages.warning(
                request,
                "That search took too long and was stopped. Here is the last hour; "
                "choose a period together with the other filters.",
            )
            return HttpResponseRedirect(f"{request.path}?period=1h")
        return response

    @display(description="Received (UTC)")
    def received(self, event: MappingEvent) -> SafeString:
        """To the second."""
        moment = f"{event.received_at:%Y-%m-%d %H:%M:%S}"
        return format_html('<span class="pl-nowrap">{}</span>', moment)

    @display(description="Decision")
    def decision_shown(self, event: MappingEvent) -> SafeString:
        """As a badge."""
        return state_badge(event.decision, event.get_decision_display())

    @display(description="Severity")
    def severity_shown(self, event: MappingEvent) -> SafeString:
        """As a badge."""
        return state_badge(event.severity, event.get_severity_display())

    @display(description="Labels")
    def labels_shown(self, event: MappingEvent) -> SafeString:
        """The first three, and how many more; the migrated ones where there are such."""
        migrated: list[str] | None = event.migrated  # type: ignore[attr-defined]
        labels = event.labels if migrated is None else migrated
        shown = format_html_join(
            "", '<span class="pl-label">{}</span>', ((label,) for label in labels[:3])
        )
        more = len(labels) - 3
        rest = f"and {more} more" if more > 0 else ""
        return format_html("<span>{}{}</span>", shown, rest)

    @display(description="Confidence")
    def confidence_shown(self, event: MappingEvent) -> str:
        """With two digits."""
        return f"{event.confidence:.2f}"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One event, whole."""
        event: MappingEvent = self.wanted(request, object_id)
        migrated = migrated_labels([event.id]).get(event.id)
        extra = {
            "event": event,
            "title": event.detector,
            "decision_badge": self.decision_shown(event),
            "severity_badge": self.severity_shown(event),
            "migrated": migrated,
            "findings": _findings(event, migrated),
            "controls": _controls(event),
            "min_strength": settings.CONFIG.mapping.controls_min_strength,
            "shape": _shape(event.output_shape),
            "facts": _facts(event),
            "api_key": ApiKey.objects.filter(
                pk=event.api_key_id, tenant__schema_name=require_tenant()
            ).first(),
            "versions": _versions(event),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})


def _findings(event: MappingEvent, migrated: MigratedLabels | None) -> list[dict[str, Any]]:
    """Each with its severity as a badge, and the label that a migration shows for it."""
    now = migrated.canonical if migrated else [None] * len(event.findings)
    return [
        {
            **entry,
            "severity_badge": state_badge(entry["severity"], entry["severity"].title()),
            "migrated": label,
        }
        for entry, label in zip(event.findings, now, strict=True)
    ]


def _controls(event: MappingEvent) -> list[dict[str, Any]]:
    """The controls on which the labels bear, by framework, as the release of the event says."""
    release = KnowledgeRelease.objects.filter(serial=event.release).first()
    if release is None:
        return []
    frameworks: dict[str, dict[str, Any]] = {}
    for label in event.labels:
        for row in controls_for(label, release):
            edition = row.control.edition
            group = frameworks.setdefault(
                str(edition),
                {
                    "name": edition.short_name,
                    "id": str(edition),
                    "answered": edition.framework in settings.CONFIG.mapping.frameworks,
                    "controls": {},
                },
            )
            entry = group["controls"].setdefault(
                row.control.code,
                {"code": row.control.code, "title": row.control.title, "labels": [],
                 "evidence": row.evidence, "strength": 0},
            )  # fmt: skip
            entry["labels"].append(label)
            entry["strength"] = max(entry["strength"], row.strength)
            if row.evidence == Evidence.DIRECT:
                entry["evidence"] = row.evidence
    return [
        _by_evidence(group)
        for _, group in sorted(
            frameworks.items(), key=lambda entry: (not entry[1]["answered"], entry[0])
        )
    ]


def _by_evidence(group: dict[str, Any]) -> dict[str, Any]:
    found = list(group["controls"].values())
    kinds: list[dict[str, Any]] = [
        {"title": kind.label, "controls": [c for c in found if c["evidence"] == kind.value]}
        for kind in (Evidence.DIRECT, Evidence.SUPPORTING)
    ]
    return {**group, "kinds": [kind for kind in kinds if kind["controls"]]}


def _shape(shape: dict[str, Any]) -> str:
    match shape:
        case {"type": "string", "length": length}:
            return f"Text of {_many(length, 'character')}"
        case {"type": "object", "keys": keys}:
            return f"JSON object with {_many(keys, 'key')}"
        case {"type": "array", "items": items}:
            return f"JSON array of {_many(items, 'item')}"
    return str(shape.get("type", "not recorded"))


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _facts(event: MappingEvent) -> list[tuple[str, Any]]:
    expected = ", ".join(event.expected_detectors or [])
    return [
        ("Event id", event.id),
        ("Received (UTC)", f"{event.received_at:%Y-%m-%d %H:%M:%S.%f}"[:-3]),
        ("Occurred (UTC)", f"{event.occurred_at:%Y-%m-%d %H:%M:%S}" if event.occurred_at else None),
        ("Vendor", event.vendor),
        ("Detector version", event.detector_version),
        ("Environment", event.environment),
        ("Route", event.route),
        ("Reference to the raw event", event.raw_ref),
        ("Expected detectors", expected),
        ("Request id", event.request_id),
    ]


def _versions(event: MappingEvent) -> list[tuple[str, Any]]:
    return [
        ("Knowledge release", event.release),
        ("Taxonomy", event.taxonomy_version),
        ("Detector file", event.detector_map_version),
        ("Model", event.model_version),
        ("Calibrator", event.calibrator_version),
    ]


class MigrationRunAdmin(PillarsAdmin):
    """Migrations between taxonomy editions: how far they are, and what became of each label."""

    list_display = (
        "started_at", "source", "target", "plan_version", "state_shown", "events", "actor",
    )  # fmt: skip
    list_display_links = ("started_at",)
    fields = (
        "source", "target", "plan_version", "plan_sha256", "direction", "state", "rows_seen",
        "rows_total", "started_at", "finished_at", "actor", "undoes", "events", "labels",
    )  # fmt: skip
    readonly_fields = ("source", "target", "events", "labels")

    @display(description="From")
    def source(self, run: MigrationRun) -> str:
        """The edition that labels come from."""
        return run.source

    @display(description="To")
    def target(self, run: MigrationRun) -> str:
        """The edition that they are carried to."""
        return run.target

    @display(description="State")
    def state_shown(self, run: MigrationRun) -> SafeString:
        """As a badge."""
        return state_badge(run.state, run.get_state_display())

    @display(description="Events carried")
    def events(self, run: MigrationRun) -> str:
        """With those that the label alone does not lead back."""
        counts = Tally.from_dict(run.counts)
        return f"{counts.events:,}, of them {counts.lossy:,} without an exact way back"

    @display(description="Labels")
    def labels(self, run: MigrationRun) -> SafeString:
        """What each label became, in events."""
        return format_html_join(
            "",
            "<div>{} ({}): {}</div>",
            (
                (label, f"{run.counts['before'][label]:,}", _listed(targets))
                for label, targets in run.counts.get("flow", {}).items()
            ),
        )


def _listed(targets: dict[str, int]) -> str:
    return ", ".join(f"{to or 'retired'} {count:,}" for to, count in targets.items())


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(MappingEvent, EventAdmin)
    site.register(MigrationRun, MigrationRunAdmin)
    site.register(KnowledgePin, KnowledgePinAdmin)
    site.register(ReviewItem, ReviewItemAdmin)
    site.register(LabelDecision, LabelDecisionAdmin)
    site.register(ThresholdOverride, ThresholdOverrideAdmin)

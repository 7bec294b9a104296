"""Reports in a tenant's admin: ask for one, see how it stands, download it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from pillars.admin import PillarsAdmin, actor
from pillars.badges import state_badge
from reporting import services
from reporting.downloads import file_response
from reporting.errors import NoSuchFileError, NotReadyError, ReportRequestError
from reporting.knowledge import framework_choices, short_name
from reporting.models import FileFormat, Report, ReportState
from reporting.selectors import reports
from taxonomy.errors import NoReleaseError

DEFAULT_DAYS = 30
RELOAD_SECONDS = 3
_NUMBERS = (
    ("controls_with_evidence", "Controls with evidence"),
    ("controls_with_direct_evidence", "of them with direct evidence"),
    ("controls_not_evaluated", "Controls not evaluated"),
    ("controls_not_evaluable_by_detectors", "Controls not evaluable by detectors"),
    ("events", "Events in the period"),
    ("events_with_evidence", "Events with evidence"),
    ("safe_checks", "Checks that found nothing"),
    ("events_not_mapped", "Events that could not be mapped"),
    ("detectors", "Detectors that reported"),
    ("days_without_events", "Days without any event"),
)


def _today() -> date:
    return timezone.now().astimezone(UTC).date()


def _first_default_day() -> date:
    return _today() - timedelta(days=DEFAULT_DAYS - 1)


class ReportForm(forms.Form):
    """What is needed for a report."""

    framework = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    period_start = forms.DateField(
        label="First day",
        initial=_first_default_day,
        widget=UnfoldAdminTextInputWidget({"type": "date"}),
        help_text="From 00:00 UTC",
    )
    period_end = forms.DateField(
        label="Last day",
        initial=_today,
        widget=UnfoldAdminTextInputWidget({"type": "date"}),
        help_text="It belongs to the period. Today is allowed: events up to now are counted",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["framework"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        try:
            field.choices = [
                (f"{c.framework}@{c.edition}", f"{c.short_name} {c.edition}")
                for c in framework_choices()
            ]
        except NoReleaseError:
            field.help_text = "No knowledge is loaded: an operator must run manage.py load_config."


class ReportAdmin(PillarsAdmin):
    """Coverage reports of this tenant. They are asked for, never edited."""

    list_display = (
        "framework_shown", "period_shown", "state_shown", "downloads", "requested_by_shown",
        "requested_shown",
    )  # fmt: skip
    list_filter = (("state", ChoicesDropdownFilter),)
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 25
    change_form_template = "reporting/report_change.html"
    fieldsets = (
        (
            "Report",
            {
                "fields": (
                    "framework_shown", "period_shown", "state_shown", "explanation",
                    "requested_by_shown", "requested_shown", "finished_shown",
                )
            },
        ),
        ("Result", {"fields": ("numbers",)}),
        ("Files", {"fields": ("files_shown",)}),
        ("Versions", {"fields": ("versions_shown", "report_id")}),
    )  # fmt: skip
    readonly_fields = (
        "framework_shown", "period_shown", "state_shown", "explanation", "requested_by_shown",
        "requested_shown", "finished_shown", "numbers", "files_shown", "versions_shown",
        "report_id",
    )  # fmt: skip
    show_add_link = False  # a button with words says it better
    actions_list = ("ask",)
    actions_detail = ("pdf", "csv", "json")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Ask for a report."""
        return self.may(request, "add")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Report]:
        return reports()

    @display(description="Framework")
    def framework_shown(self, report: Report) -> str:
        """Its name and edition."""
        return f"{short_name(report.framework, report.edition)} {report.edition}"

    @display(description="Period (UTC)")
    def period_shown(self, report: Report) -> str:
        """Both days belong to it."""
        return f"{_day(report.period_start)} to {_day(report.period_end)}"

    @display(description="State")
    def state_shown(self, report: Report) -> SafeString:
        """As a badge."""
        return state_badge(report.state, report.get_state_display())

    @display(description="What this means")
    def explanation(self, report: Report) -> str:
        """What to do now."""
        match report.state:
            case ReportState.QUEUED:
                return "A worker will make it in a moment. This page reloads by itself."
            case ReportState.RUNNING:
                return "A worker is making it. This page reloads by itself."
            case ReportState.FAILED:
                return report.state_detail
        return report.state_detail or "All files are ready. The report does not change any more."

    @display(description="Requested by")
    def requested_by_shown(self, report: Report) -> str:
        """A person, or an API key."""
        return report.requested_by.removeprefix("user:")

    @display(description="Requested (UTC)")
    def requested_shown(self, report: Report) -> str:
        """To the minute."""
        return f"{report.requested_at:%Y-%m-%d %H:%M}"

    @display(description="Finished (UTC)")
    def finished_shown(self, report: Report) -> str:
        """To the second."""
        return f"{report.finished_at:%Y-%m-%d %H:%M:%S}" if report.finished_at else "not yet"

    @display(description="Download")
    def downloads(self, report: Report) -> SafeString | str:
        """Links to the files that are there."""
        return (
            format_html_join(
                " ",
                '<a class="pl-label" href="{}">{}</a>',
                (
                    (self._file_address(report, file.format), file.get_format_display())
                    for file in report.files.all()
                ),
            )
            or "none"
        )

    @display(description="Numbers")
    def numbers(self, report: Report) -> SafeString | str:
        """The summary, once there is one."""
        if not report.summary:
            return "not yet"
        return _table(
            ((title, f"{report.summary[name]:,}") for name, title in _NUMBERS),
        )

    @display(description="Files")
    def files_shown(self, report: Report) -> SafeString | str:
        """Format, size and digest."""
        files = [
            (
                format_html(
                    '<a class="underline" href="{}">{}</a>',
                    self._file_address(report, file.format),
                    file.get_format_display(),
                ),
                f"{file.size:,} bytes",
                f"SHA-256 {file.sha256}",
            )
            for file in report.files.all()
        ]
        return _table(files) if files else "none"

    @display(description="Version tags")
    def versions_shown(self, report: Report) -> SafeString | str:
        """What it was made with."""
        versions = report.versions
        if not versions:
            return "not yet"
        events = versions["events"]
        maps = (f"{name} {', '.join(v)}" for name, v in sorted(events["detector_maps"].items()))
        return _table(
            (
                ("Framework", versions["framework"]),
                ("Crosswalk", versions["crosswalk"]),
                ("Taxonomy", versions["taxonomy"]),
                ("Knowledge release", versions["release"]),
                ("Pillars", versions["pillars"]),
                ("Events mapped under taxonomy", ", ".join(events["taxonomies"]) or "none"),
                ("Detector files", "; ".join(maps) or "none"),
                ("Model", ", ".join(events["models"]) or "none: by the rules alone"),
                ("Calibrator", ", ".join(events["calibrators"]) or "none"),
            )
        )

    @display(description="Report id")
    def report_id(self, report: Report) -> str:
        """As in the files."""
        return str(report.id)

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Ask for a report."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ReportForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            report = _requested(form, request)
            if report is not None:
                messages.success(request, "The report is being made.")
                return HttpResponseRedirect(self.address(request, report))
        return self.form_page(
            request, form=form, title="Request report", submit="Request report",
            intro="A coverage report shows which findings of the period are evidence supporting "
            "which controls, and which controls were not evaluated. It takes a moment, and does "
            "not change afterwards.",
        )  # fmt: skip

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One report; the page reloads until it is finished."""
        report: Report = self.wanted(request, object_id)
        extra = {
            "title": f"{self.framework_shown(report)}, {self.period_shown(report)}",
            "reload_seconds": None if report.is_finished else RELOAD_SECONDS,
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Buttons for the files that are there."""
        report = self.get_object(request, object_id)
        there = tuple(f"_{file.format}" for file in report.files.all()) if report else ()
        found = super().get_actions_detail(request, object_id)
        return [item for item in found if there and item.action_name.endswith(there)]

    @action(
        description="Request report", permissions=["add"], url_path="request", icon="add",
        variant=ActionVariant.PRIMARY,
    )  # fmt: skip
    def ask(self, request: HttpRequest) -> HttpResponse:
        """Go to the form."""
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:reporting_report_add"))

    @action(description="PDF", permissions=["view"], url_path="pdf", icon="picture_as_pdf")
    def pdf(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Download the PDF file."""
        return self._file(request, object_id, FileFormat.PDF)

    @action(description="CSV", permissions=["view"], url_path="csv", icon="table")
    def csv(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Download the CSV file."""
        return self._file(request, object_id, FileFormat.CSV)

    @action(description="JSON", permissions=["view"], url_path="json", icon="data_object")
    def json(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Download the JSON file."""
        return self._file(request, object_id, FileFormat.JSON)

    def _file(
        self, request: HttpRequest, object_id: str, file_format: FileFormat
    ) -> HttpResponseBase:
        report: Report = self.wanted(request, object_id)
        try:
            return file_response(
                request, report_id=report.id, file_format=file_format.value, actor=actor(request)
            )
        except NotReadyError:
            messages.warning(request, "The report is not finished yet.")
        except NoSuchFileError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(self.address(request, report))

    def _file_address(self, report: Report, file_format: str) -> str:
        base = reverse(
            f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change",
            args=[report.pk],
        )
        return f"{base.removesuffix('change/')}{file_format}/"


def _requested(form: ReportForm, request: HttpRequest) -> Report | None:
    try:
        return services.request_report(**form.cleaned_data, actor=actor(request))
    except ReportRequestError as error:
        form.add_error(error.field, error.message)
    except NoReleaseError as error:
        form.add_error(None, str(error))
    return None


def _day(day: date) -> str:
    return date_format(day, "j M Y")


def _table(rows: Iterable[Sequence[Any]]) -> SafeString:
    """Rows of cells; the first cell of a row names it."""

    def cells(row: Sequence[Any]) -> SafeString:
        *named, last = row
        return format_html(
            '{}<td class="py-1 align-top break-all">{}</td>',
            format_html_join(
                "", '<td class="pr-6 py-1 align-top whitespace-nowrap">{}</td>', zip(named)
            ),
            last,
        )

    body = format_html_join("", "<tr>{}</tr>", ((cells(row),) for row in rows))
    return format_html("<table>{}</table>", body)


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(Report, ReportAdmin)

"""The knowledge in the admin: to browse and search, never to change."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import action

from pillars.admin import PillarsAdmin, badges
from pillars.badges import state_badge
from taxonomy.migration import MigrationPlan
from taxonomy.models import (
    Control,
    CrosswalkEdition,
    CrosswalkRow,
    DetectorLabel,
    DetectorMap,
    FrameworkEdition,
    KnowledgeRelease,
    Label,
    MigrationPlanEdition,
    TaxonomyEdition,
)
from taxonomy.oscal import oscal_of, to_json
from taxonomy.selectors import controls_for, current_release

_CELL = "px-3 py-1 text-left align-top"


class ReadOnlyAdmin(PillarsAdmin):
    """Base of all pages here."""

    list_per_page = 50
    exclude: tuple[str, ...] = ("document",)
    # The release that the site's pages speak of; a tenant's site has the tenant's own.
    in_force: Callable[[], KnowledgeRelease | None] = staticmethod(current_release)


class ParentBranchFilter(admin.SimpleListFilter):
    """The first part of a label's name."""

    title = "branch"
    parameter_name = "branch"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Label.objects.values_list("parent", flat=True).distinct()
        return [(root, root) for root in sorted({name.split(".")[0] for name in names})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Label]) -> QuerySet[Label]:
        return queryset.filter(name__startswith=f"{self.value()}.") if self.value() else queryset


class TaxonomyEditionAdmin(ReadOnlyAdmin):
    """Editions of the taxonomy."""

    list_display = ("edition", "loaded_at", "sha256")
    search_fields = ("edition",)


class LabelAdmin(ReadOnlyAdmin):
    """Canonical labels, and the controls that each one bears on."""

    list_display = ("name", "severity_badge", "meaning", "edition")
    list_filter = ("edition", ParentBranchFilter, "severity")
    list_select_related = ("edition",)
    search_fields = ("name", "meaning", "aliases")
    readonly_fields = ("controls",)

    @admin.display(description="Severity", ordering="severity")
    def severity_badge(self, label: Label) -> SafeString:
        """The severity, in a colour that repeats it."""
        return state_badge(label.severity, label.get_severity_display())

    @admin.display(description="Controls that findings are evidence for")
    def controls(self, label: Label) -> SafeString | str:
        """The crosswalk rows in force, as a table."""
        release = self.in_force()
        if release is not None and release.taxonomy != label.edition:
            return f"None: edition {label.edition} is not in force"
        rows = controls_for(label.name, release) if release else []
        if not rows:
            return "None"
        body = format_html_join(
            "",
            '<tr><td class="{0}">{1}:{2}</td><td class="{0}">{3}</td>'
            '<td class="{0}">{4}, {5}</td><td class="{0}">{6}</td></tr>',
            (
                (
                    _CELL,
                    row.control.edition,
                    row.control.code,
                    row.control.title,
                    row.get_evidence_display(),
                    row.strength,
                    row.rationale,
                )
                for row in rows
            ),
        )
        return format_html(
            '<table><thead><tr><th class="{0}">Control</th><th class="{0}">Title</th>'
            '<th class="{0}">Evidence, strength</th><th class="{0}">Why</th></tr></thead>'
            "<tbody>{1}</tbody></table>",
            _CELL,
            body,
        )


class DetectorLabelInline(TabularInline):
    """The labels of a detector."""

    model = DetectorLabel
    fields = ("label", "canonical", "severity", "disposition", "reason")
    per_page = 100
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """The database refuses changes; the admin does not offer them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As above."""
        return False


class DetectorMapAdmin(ReadOnlyAdmin):
    """Detectors, and what each of their labels means."""

    list_display = ("detector", "vendor", "version", "loaded_at")
    list_filter = ("vendor",)
    search_fields = ("detector", "vendor", "labels__label")
    inlines = (DetectorLabelInline,)


class DetectorLabelAdmin(ReadOnlyAdmin):
    """Labels across detectors: which detector's label means what."""

    list_display = ("label", "detector_map", "canonical_labels", "disposition", "reason")
    list_filter = ("disposition", "detector_map__detector")
    list_select_related = ("detector_map",)
    search_fields = ("label", "canonical")

    @admin.display(description="Canonical labels")
    def canonical_labels(self, row: DetectorLabel) -> SafeString:
        """One badge each."""
        return badges(row.canonical)


class FrameworkEditionAdmin(ReadOnlyAdmin):
    """Frameworks by edition."""

    list_display = ("short_name", "edition", "version", "publisher", "loaded_at")
    list_filter = ("framework",)
    search_fields = ("framework", "name", "publisher")


class ControlAdmin(ReadOnlyAdmin):
    """Controls of the frameworks."""

    list_display = ("code", "title", "group", "edition")
    list_filter = ("edition",)
    list_select_related = ("edition",)
    search_fields = ("code", "title", "group")


class CrosswalkEditionAdmin(ReadOnlyAdmin):
    """Versions of the crosswalks."""

    list_display = ("framework", "version", "loaded_at")
    list_select_related = ("framework",)
    search_fields = ("framework__framework", "version")
    actions_detail = ("oscal",)

    @action(description="OSCAL (JSON)", permissions=["view"], url_path="oscal", icon="download")
    def oscal(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Download this version as a mapping collection of OSCAL."""
        crosswalk: CrosswalkEdition = self.wanted(request, object_id)
        name = f"{crosswalk.framework}-{crosswalk.version}.oscal.json"
        response = HttpResponse(to_json(oscal_of(crosswalk)), content_type="application/json")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


class CrosswalkRowAdmin(ReadOnlyAdmin):
    """From canonical labels to controls."""

    list_display = ("label", "control", "relationship", "evidence", "strength", "rationale")
    list_filter = ("crosswalk", "evidence", "relationship")
    list_select_related = ("control", "crosswalk__framework")
    search_fields = ("label", "control__code", "control__title", "rationale")


class MigrationPlanEditionAdmin(ReadOnlyAdmin):
    """Plans from one taxonomy edition to another; the highest version is the one that is used."""

    list_display = ("old", "new", "version", "loaded_at", "sha256")
    search_fields = ("old", "new", "version")
    readonly_fields = ("steps", "lossy")

    @admin.display(description="Steps")
    def steps(self, row: MigrationPlanEdition) -> SafeString:
        """What becomes of each old label, names that stay left out."""
        steps = MigrationPlan.from_document(row.document).steps
        return format_html_join(
            "",
            "<div>{}: {} {}</div>",
            (
                (step.label, step.action, " or ".join(step.targets) or step.reason)
                for step in steps
                if step.action != "keep"
            ),
        )

    @admin.display(description="What the way back cannot tell")
    def lossy(self, row: MigrationPlanEdition) -> SafeString:
        """The losses of the inverted plan."""
        losses = MigrationPlan.from_document(row.document).invert().lossy
        return format_html_join("", "<div>{}</div>", ((loss,) for loss in losses))


class KnowledgeReleaseAdmin(ReadOnlyAdmin):
    """Which editions came when; the first one is in force unless a tenant chose another."""

    list_display = ("serial", "taxonomy", "loaded_at", "loaded_by", "sha256")
    list_select_related = ("taxonomy",)
    search_fields = ("serial", "taxonomy__edition")
    readonly_fields = ("editions",)

    @admin.display(description="Editions")
    def editions(self, release: KnowledgeRelease) -> str:
        """Everything of the release, by name and version."""
        parts: list[Any] = [
            *release.frameworks.all(),
            *release.crosswalks.select_related("framework"),
            *release.detectors.all(),
        ]
        return ", ".join(map(str, parts))


_PAGES: dict[type[Model], type[ReadOnlyAdmin]] = {
    KnowledgeRelease: KnowledgeReleaseAdmin,
    TaxonomyEdition: TaxonomyEditionAdmin,
    Label: LabelAdmin,
    DetectorMap: DetectorMapAdmin,
    DetectorLabel: DetectorLabelAdmin,
    FrameworkEdition: FrameworkEditionAdmin,
    Control: ControlAdmin,
    CrosswalkEdition: CrosswalkEditionAdmin,
    CrosswalkRow: CrosswalkRowAdmin,
    MigrationPlanEdition: MigrationPlanEditionAdmin,
}


def register(
    site: AdminSite, in_force: Callable[[], KnowledgeRelease | None] = current_release
) -> None:
    """Add this app's pages to an admin site. `in_force`: which release its pages speak of."""
    for model, page in _PAGES.items():
        site.register(model, page, in_force=staticmethod(in_force))

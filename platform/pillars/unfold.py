"""How the two admin sites look and what their sidebars offer. Settings of django-unfold.

Imported by the settings: nothing here may import a model when it is loaded.
"""

from typing import Any, NamedTuple

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse


class _Page(NamedTuple):
    title: str
    icon: str
    model: str


# A page is offered where its model is registered and the person may see it.
_TENANT_PAGES: dict[str, tuple[_Page, ...]] = {
    "Evidence": (
        _Page("Events", "query_stats", "mapping.MappingEvent"),
        _Page("Reports", "description", "reporting.Report"),
        _Page("Migrations", "alt_route", "mapping.MigrationRun"),
    ),
    "Mapping": (
        _Page("Review queue", "fact_check", "mapping.ReviewItem"),
        _Page("Label decisions", "gavel", "mapping.LabelDecision"),
    ),
    "Knowledge": (
        _Page("Knowledge version", "push_pin", "mapping.KnowledgePin"),
        _Page("Thresholds", "linear_scale", "mapping.ThresholdOverride"),
        _Page("Labels", "label", "taxonomy.Label"),
        _Page("Detectors", "sensors", "taxonomy.DetectorMap"),
        _Page("Frameworks", "account_balance", "taxonomy.FrameworkEdition"),
        _Page("Controls", "rule", "taxonomy.Control"),
        _Page("Crosswalk", "compare_arrows", "taxonomy.CrosswalkRow"),
        _Page("Releases", "inventory_2", "taxonomy.KnowledgeRelease"),
        _Page("Migration plans", "route", "taxonomy.MigrationPlanEdition"),
    ),
    "Access": (
        _Page("API keys", "key", "keys.ApiKey"),
        _Page("People", "group", "users.User"),
        _Page("Roles", "badge", "auth.Group"),
    ),
    "Record": (_Page("Audit trail", "history", "audit.AuditEntry"),),
}
_PLATFORM_PAGES: dict[str, tuple[_Page, ...]] = {
    "Tenants": (
        _Page("Tenants", "domain", "tenants.Tenant"),
        _Page("API keys", "key", "keys.ApiKey"),
    ),
    "Mapping": (_Page("Mapping mode", "tune", "switch.ModeChoice"),),
    "Models": (
        _Page("Training runs", "monitoring", "runs.TrainingRun"),
        _Page("Versions of models", "workspace_premium", "training.ModelVersion"),
        _Page("Served model", "model_training", "serving.ServingChoice"),
    ),
    "Knowledge": (
        _Page("Change sets", "edit_note", "changes.ChangeSet"),
        _Page("Suggestions", "lightbulb", "changes.Suggestion"),
        *_TENANT_PAGES["Knowledge"],
    ),
    "Access": (_Page("Operators", "group", "users.User"), _Page("Roles", "badge", "auth.Group")),
    "Record": _TENANT_PAGES["Record"],
}


def _navigation(
    request: HttpRequest, site_name: str, pages: dict[str, tuple[_Page, ...]]
) -> list[dict[str, Any]]:
    from django.apps import apps

    from pillars import sites

    site = sites.platform_site if site_name == "platform_admin" else sites.tenant_site
    groups = [_group("", [_item("Overview", "space_dashboard", reverse("admin:index"))])]
    for title, entries in pages.items():
        items = []
        for page in entries:
            model = apps.get_model(page.model)
            if not site.is_registered(model):
                continue
            if site.get_model_admin(model).has_view_permission(request):
                name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
                items.append(_item(page.title, page.icon, reverse(name)))
        if items:
            groups.append(_group(title, items))
    groups.append(_group("Developers", [_item("API documentation", "api", "/docs")]))
    return groups


def _group(title: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "separator": False, "items": items}


def _item(title: str, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}


def _tenant_navigation(request: HttpRequest) -> list[dict[str, Any]]:
    return _navigation(request, "tenant_admin", _TENANT_PAGES)


def _platform_navigation(request: HttpRequest) -> list[dict[str, Any]]:
    return _navigation(request, "platform_admin", _PLATFORM_PAGES)


def _tenant_name(request: HttpRequest) -> str:
    tenant = getattr(request, "host_tenant", None)
    return tenant.name if tenant is not None else "Pillars"


def _tenant_title(request: HttpRequest) -> str:
    return f"{_tenant_name(request)} · Pillars"


def _tenant_environment(request: HttpRequest) -> list[str]:
    return [_tenant_name(request), "info"]


def _static(path: str) -> Any:
    return lambda request: static(path)


# Petrol on cool grey. Each pair in use has at least 4.5:1 (WCAG 2.2 AA), in both themes.
_COLOURS = {
    "primary": {
        "50": "oklch(97.6% .011 216)",
        "100": "oklch(94.2% .026 216)",
        "200": "oklch(88.5% .050 216)",
        "300": "oklch(81.0% .078 216)",
        "400": "oklch(75.5% .092 216)",
        "500": "oklch(72.5% .095 216)",
        "600": "oklch(46.5% .078 222)",
        "700": "oklch(41.0% .070 222)",
        "800": "oklch(35.5% .060 222)",
        "900": "oklch(30.0% .050 222)",
        "950": "oklch(22.0% .038 222)",
    },
    "font": {
        "subtle-light": "var(--color-base-600)",
        "subtle-dark": "var(--color-base-300)",
        "default-light": "var(--color-base-700)",
        "default-dark": "var(--color-base-200)",
        "important-light": "var(--color-base-900)",
        "important-dark": "var(--color-base-50)",
    },
}

_COMMON: dict[str, Any] = {
    "SITE_URL": None,
    "SITE_ICON": {
        "light": _static("pillars/logo.svg"),
        "dark": _static("pillars/logo-dark.svg"),
    },
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": _static("pillars/favicon.svg")}
    ],
    # The audit trail is the record of what was done; Django's own log would show half of it.
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "8px",
    "COLORS": _COLOURS,
    "STYLES": [_static("pillars/admin.css")],
    "SCRIPTS": [_static("pillars/admin.js")],
}

UNFOLD_TENANT: dict[str, Any] = {
    **_COMMON,
    "SITE_TITLE": _tenant_title,
    "SITE_HEADER": "Pillars",
    "SITE_SUBHEADER": _tenant_name,
    "ENVIRONMENT": _tenant_environment,
    "SIDEBAR": {"show_search": False, "navigation": _tenant_navigation},
}
UNFOLD_PLATFORM: dict[str, Any] = {
    **_COMMON,
    "SITE_TITLE": "Pillars platform",
    "SITE_HEADER": "Pillars",
    "SITE_SUBHEADER": "Platform",
    "ENVIRONMENT": lambda request: ["Platform", "warning"],
    "SIDEBAR": {"show_search": False, "navigation": _platform_navigation},
}
# Unfold reads this one where no site is at hand.
UNFOLD = UNFOLD_TENANT

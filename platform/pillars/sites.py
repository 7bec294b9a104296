"""The two admin sites. Every page is registered here, explicitly, on the site where it belongs."""

from typing import Any

from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite

from access.keys.admin import register_for_platform as platform_keys
from access.keys.admin import register_for_tenant as tenant_keys
from access.users.admin import register as people
from access.users.models import User
from audit.admin import register as audit
from mapping.admin import register as events
from mapping.onboarding.pages import register as onboarding
from mapping.selectors import release_in_force
from mapping.serving.admin import register as served
from mapping.switch.admin import register as mode
from pillars import dashboards
from reporting.admin import register as reports
from taxonomy.admin import register as knowledge
from taxonomy.changes.admin import register as changes
from taxonomy.changes.proposing import register as proposing
from taxonomy.changes.suggestion_admin import register as suggestions
from tenants.admin import register as tenants
from tenants.context import PUBLIC, current_schema
from training.admin import register as models
from training.runs.admin import register as runs


class _Site(UnfoldAdminSite):
    """What both have in common."""

    def get_urls(self) -> list[Any]:
        """Without Django's way from an object to its public page: nothing here has one."""
        urls = super().get_urls()
        return [entry for entry in urls if getattr(entry, "name", None) != "view_on_site"]


class PlatformSite(_Site):
    """For operators: tenants, their keys, the knowledge. It never shows a tenant's data."""

    settings_name = "UNFOLD_PLATFORM"
    site_header = "Pillars platform"
    site_title = "Pillars platform"
    index_title = "Platform"
    index_template = "pillars/platform_index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Only in the public schema."""
        return current_schema() == PUBLIC and super().has_permission(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The start page."""
        assert isinstance(request.user, User)  # noqa: S101 - has_permission let nobody else in
        facts = dashboards.platform(request.user)
        return super().index(request, {**facts, **(extra_context or {})})


class TenantSite(_Site):
    """For the people of one tenant: events, reports, keys, people, and the knowledge to read."""

    settings_name = "UNFOLD_TENANT"
    site_header = "Pillars"
    site_title = "Pillars"
    index_title = "Overview"
    index_template = "pillars/tenant_index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Only in a tenant's schema."""
        return current_schema() != PUBLIC and super().has_permission(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The start page."""
        return super().index(request, {**dashboards.tenant(), **(extra_context or {})})


platform_site = PlatformSite(name="platform_admin")
tenant_site = TenantSite(name="tenant_admin")

for add in (
    tenants, platform_keys, mode, served, models, people, knowledge, changes, proposing,
    suggestions, onboarding, runs, audit,
):  # fmt: skip
    add(platform_site)
for add in (events, reports, tenant_keys, people, audit):
    add(tenant_site)
knowledge(tenant_site, in_force=release_in_force)

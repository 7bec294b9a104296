"""Tenants in the platform's admin. Every change goes through tenants.services."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from pillars.admin import PillarsAdmin, actor
from pillars.badges import state_badge
from tenants import services
from tenants.errors import TenantError
from tenants.models import SLUG_PATTERN, Domain, Tenant, TenantState

# As services.provision_tenant writes them into state_detail, in order.
_STEPS = (
    "Waiting for a worker",
    "Creating the schema",
    "Creating tables",
    "Creating roles and partitions",
)
_UNFINISHED = (TenantState.PENDING, TenantState.PROVISIONING)
# Which action fits which state; the services refuse the others anyway.
_ACTIONS = {
    "suspend": (TenantState.ACTIVE,),
    "resume": (TenantState.SUSPENDED,),
    "retry": (TenantState.FAILED, TenantState.PENDING),
}


class TenantForm(forms.Form):
    """What is needed to register a tenant."""

    name = forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget, help_text="As people know it"
    )
    slug = forms.RegexField(
        SLUG_PATTERN,
        label="Short name",
        max_length=40,
        widget=UnfoldAdminTextInputWidget({"autocapitalize": "none", "spellcheck": "false"}),
        help_text="3 to 40 of a-z, 0-9 and hyphen, starting with a letter. "
        "It becomes part of the host name and of the schema's name, and never changes.",
        error_messages={"invalid": "3 to 40 of a-z, 0-9 and hyphen, starting with a letter."},
    )
    domain = forms.RegexField(
        r"^[a-z0-9-]+(\.[a-z0-9-]+)*$",
        max_length=253,
        required=False,
        widget=UnfoldAdminTextInputWidget({"autocapitalize": "none", "spellcheck": "false"}),
        error_messages={"invalid": "A host name, without https:// and without a port."},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["domain"].help_text = (
            f"Empty: SHORT-NAME.{settings.CONFIG.server.tenant_domain}. "
            "Any other name must lead to this server."
        )


class SuspendForm(forms.Form):
    """Why a tenant is suspended."""

    reason = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Shown here and kept in the audit trail",
    )


class TenantAdmin(PillarsAdmin):
    """The register of tenants."""

    list_display = ("name", "short_name", "state_shown", "host", "keys", "created_at")
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("name", "slug", "domains__domain")
    search_help_text = "Name, short name or host"
    actions_detail = ("suspend", "resume", "retry")
    change_form_before_template = "pillars/tenant_progress.html"
    readonly_fields = ("state_shown", "state_changed_at", "host", "keys", "created_at", "id")
    fieldsets = (
        (
            "Tenant",
            {"fields": ("name", "slug", "host", "schema_name", "keys", "created_at", "id")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        primary = Domain.objects.filter(tenant=OuterRef("pk"), is_primary=True)
        found: QuerySet[Tenant] = super().get_queryset(request)
        return found.annotate(
            primary_host=Subquery(primary.values("domain")[:1]),
            # The keys are an app above this one: it is known by the name of its relation only.
            key_count=Count("api_keys", filter=Q(api_keys__revoked_at=None)),
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Register a tenant."""
        return self.may(request, "add")

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Suspend, resume, retry."""
        return self.may(request, "change")

    @display(description="Short name", ordering="slug")
    def short_name(self, tenant: Tenant) -> str:
        """The slug."""
        return tenant.slug

    @display(description="State", ordering="state")
    def state_shown(self, tenant: Tenant) -> SafeString:
        """The state as a badge."""
        return state_badge(tenant.state, tenant.get_state_display())

    @display(description="Host", ordering="primary_host")
    def host(self, tenant: Any) -> SafeString | str:
        """Where the tenant is reached; a link to its admin while it is served."""
        if not tenant.primary_host:
            return "-"
        server = settings.CONFIG.server
        if not tenant.is_active:
            return str(tenant.primary_host)
        scheme, port = ("https", "") if server.https else ("http", f":{server.port}")
        address = f"{scheme}://{tenant.primary_host}{port}/admin/"
        return format_html('<a class="pl-link" href="{}">{}</a>', address, tenant.primary_host)

    @display(description="API keys", ordering="key_count")
    def keys(self, tenant: Any) -> int:
        """Keys that are not revoked."""
        return int(tenant.key_count)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Only what fits the tenant's state."""
        state = Tenant.objects.filter(pk=object_id).values_list("state", flat=True).first()
        names = {
            f"{self.opts.app_label}_{self.opts.model_name}_{name}"
            for name, states in _ACTIONS.items()
            if state in states
        }
        found = super().get_actions_detail(request, object_id)
        return [item for item in found if item.action_name in names]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The detail page with the progress of the set-up."""
        tenant = self.wanted(request, object_id)
        extra = {
            "progress": _progress(tenant),
            "tenant": tenant,
            "tenant_state": self.state_shown(tenant),
            "unfinished": tenant.state in _UNFINISHED,
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Register a tenant; a worker sets it up."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TenantForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                tenant = services.create_tenant(
                    slug=form.cleaned_data["slug"],
                    name=form.cleaned_data["name"],
                    domain=form.cleaned_data["domain"] or None,
                    actor=actor(request),
                )
            except TenantError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"{tenant.name} is registered. A worker sets it up.")
                return HttpResponseRedirect(self.address(request, tenant))
        return self.form_page(
            request,
            form=form,
            title="Add tenant",
            submit="Add tenant",
            intro="The tenant gets a database schema of its own, which a background worker "
            "creates within seconds.",
        )

    @action(
        description="Suspend", permissions=["operate"], icon="pause", variant=ActionVariant.DANGER
    )
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a reason, then suspend."""
        form = SuspendForm(request.POST or None)
        return self._act(
            request, object_id, form, "Suspend", danger=True,
            intro="Neither the admin nor the API of {} will answer, and its keys stop working at "
            "once. Nothing is deleted; you can resume it at any time.",
            done="{} is suspended. Its data is kept.",
            run=lambda tenant: services.suspend_tenant(
                tenant=tenant, actor=actor(request), reason=form.cleaned_data["reason"]
            ),
        )  # fmt: skip

    @action(description="Resume", permissions=["operate"], icon="play_arrow")
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Confirm, then serve the tenant again."""
        return self._act(
            request, object_id, forms.Form(request.POST or None), "Resume",
            intro="The admin and the API of {} answer again, and its keys work again.",
            done="{} is served again.",
            run=lambda tenant: services.resume_tenant(tenant=tenant, actor=actor(request)),
        )  # fmt: skip

    @action(description="Retry set-up", permissions=["operate"], icon="refresh")
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Confirm, then ask for the set-up again."""
        return self._act(
            request, object_id, forms.Form(request.POST or None), "Retry set-up",
            intro="The set-up of {} goes on where it stopped. The worker's log says why it did.",
            done="The set-up of {} was asked for again.",
            run=lambda tenant: services.retry_provisioning(tenant=tenant, actor=actor(request)),
        )  # fmt: skip

    def _act(
        self,
        request: HttpRequest,
        object_id: str,
        form: forms.Form,
        verb: str,
        *,
        intro: str,
        done: str,
        run: Callable[[Tenant], None],
        danger: bool = False,
    ) -> HttpResponse:
        """GET asks, POST does; what the service refuses is said on the tenant's page."""
        tenant = self.wanted(request, object_id)
        if request.method != "POST" or not form.is_valid():
            return self.form_page(
                request, form=form, title=f"{verb}: {tenant.name}", submit=verb,
                intro=intro.format(tenant.name), danger=danger, obj=tenant,
            )  # fmt: skip
        try:
            run(tenant)
        except TenantError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, done.format(tenant.name))
        return HttpResponseRedirect(self.address(request, tenant))


def _progress(tenant: Tenant) -> list[dict[str, str]]:
    """The steps of the set-up with their state: done, now, failed or ahead."""
    if tenant.state not in (*_UNFINISHED, TenantState.FAILED):
        return []
    if tenant.state == TenantState.FAILED:  # the detail holds the error, not the step
        return [{"title": "Set-up", "state": "failed"}]
    reached = _STEPS.index(tenant.state_detail) if tenant.state_detail in _STEPS else 0
    return [
        {"title": step, "state": "done" if i < reached else "now" if i == reached else "ahead"}
        for i, step in enumerate(_STEPS)
    ]


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(Tenant, TenantAdmin)

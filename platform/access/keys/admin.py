"""API keys in both admins. A secret is on the page that answers its creation, and nowhere else."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from access.keys import services
from access.keys.models import ApiKey, Scope
from access.keys.services import ApiKeyError, IssuedKey
from access.usage.models import KeyUse
from pillars.admin import PillarsAdmin, actor, badges
from pillars.badges import state_badge
from tenants.context import PUBLIC, current_schema
from tenants.models import Tenant, TenantState

_GRACE = (
    (0, "None: the old secret stops working now"),
    (1, "1 hour"),
    (24, "24 hours"),
    (168, "7 days"),
)


class KeyForm(forms.Form):
    """What is needed for a key."""

    name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget, help_text="What uses it: chat-gateway"
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.label} ({scope.value})") for scope in Scope],
        initial=[Scope.MAP_WRITE.value],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        error_messages={"required": "Choose what the key may do."},
    )
    expires_on = forms.DateField(
        required=False,
        label="Expires on",
        widget=UnfoldAdminTextInputWidget({"type": "date"}),
        help_text="It stops working when that day begins (UTC). Empty: it does not expire",
    )
    items_per_minute = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2_147_483_647,
        widget=UnfoldAdminTextInputWidget({"type": "number", "min": "1"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limit = settings.CONFIG.rate_limits.key_items_per_minute
        self.fields["items_per_minute"].help_text = f"Empty: the default of {limit:,}"

    def clean_expires_on(self) -> datetime | None:
        """The beginning of the day, which must lie ahead."""
        day = self.cleaned_data["expires_on"]
        if day is None:
            return None
        moment = datetime.combine(day, time.min, UTC)
        if moment <= timezone.now():
            raise forms.ValidationError("Choose a day after today.")
        return moment


class PlatformKeyForm(KeyForm):
    """A key that an operator makes for a tenant."""

    field_order = ("tenant", "name")
    tenant = forms.ModelChoiceField(
        Tenant.objects.filter(state=TenantState.ACTIVE), widget=UnfoldAdminSelectWidget
    )


class RotateForm(forms.Form):
    """How long the old secret goes on."""

    grace = forms.TypedChoiceField(
        choices=_GRACE,
        coerce=int,
        initial=24,
        label="The old secret goes on working for",
        widget=UnfoldAdminRadioSelectWidget,
        help_text="Time to put the new secret into every place that holds the old one",
    )


class KeyStateFilter(DropdownFilter):
    """By what ApiKey.state says."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The three states."""
        return [("active", "Active"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Keys in the chosen state."""
        expired = Q(expires_at__lte=timezone.now())
        match self.value():
            case "active":
                return queryset.filter(revoked_at=None).exclude(expired)
            case "expired":
                return queryset.filter(expired, revoked_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
        return queryset


class _KeyAdmin(PillarsAdmin):
    """What both sites share."""

    search_fields = ("name", "prefix")
    search_help_text = "Name or prefix"
    actions_detail = ("rotate", "revoke")
    form_class: type[KeyForm] = KeyForm
    readonly_fields: tuple[str, ...] = (
        "state_shown",
        "prefix_shown",
        "scopes_shown",
        "limit_shown",
        "old_secret",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Create a key."""
        return self.may(request, "add")

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Rotate and revoke."""
        return self.may(request, "change")

    def acting(self, request: HttpRequest) -> str:
        """Who acts, as the tenant's audit trail names them."""
        return actor(request)

    def tenant_of(self, form: forms.Form) -> Tenant:
        """Whose key is made."""
        raise NotImplementedError

    @display(description="State")
    def state_shown(self, key: ApiKey) -> SafeString:
        """active, expired or revoked, as a badge."""
        return state_badge(key.state, key.state.capitalize())

    @display(description="Prefix")
    def prefix_shown(self, key: ApiKey) -> str:
        """How the secret begins: enough to recognise it, useless to a thief."""
        return f"plr_{key.prefix}_…"

    @display(description="Scopes")
    def scopes_shown(self, key: ApiKey) -> SafeString:
        """What it may do."""
        return badges(key.scopes)

    @display(description="Items a minute")
    def limit_shown(self, key: ApiKey) -> str:
        """Its own limit, or the default."""
        limit = key.items_per_minute or settings.CONFIG.rate_limits.key_items_per_minute
        return f"{limit:,}" + ("" if key.items_per_minute else " (default)")

    @display(description="Old secret")
    def old_secret(self, key: ApiKey) -> str:
        """Until when the secret before the last rotation works."""
        if key.previous_until is None or key.previous_until <= timezone.now():
            return "does not work"
        return f"plr_{key.previous_prefix}_… works until {key.previous_until:%Y-%m-%d %H:%M} UTC"

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Rotate an active key, revoke one that is not revoked."""
        key = self.get_object(request, object_id)
        fitting = {
            "active": ("rotate", "revoke"), "expired": ("revoke",), "revoked": ()
        }[key.state if key else "revoked"]  # fmt: skip
        found = super().get_actions_detail(request, object_id)
        return [item for item in found if item.action_name.endswith(fitting)]

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Create a key and show its secret."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self.form_class(request.POST or None)
        if request.method == "POST" and form.is_valid():
            issued = self._issue(
                form,
                lambda: services.create_key(
                    tenant=self.tenant_of(form),
                    name=form.cleaned_data["name"],
                    scopes=form.cleaned_data["scopes"],
                    actor=self.acting(request),
                    expires_at=form.cleaned_data["expires_on"],
                    items_per_minute=form.cleaned_data["items_per_minute"],
                ),
            )
            if issued is not None:
                return self._show_once(request, issued, "Key created")
        return self.form_page(
            request, form=form, title="Add API key", submit="Create key",
            intro="The secret is shown once, on the next page. Have the place ready that will "
            "keep it.",
        )  # fmt: skip

    @action(description="Rotate", permissions=["operate"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give the key a new secret and show it."""
        key: ApiKey = self.wanted(request, object_id)
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            issued = self._issue(
                form,
                lambda: services.rotate_key(
                    key=key,
                    actor=self.acting(request),
                    grace=timedelta(hours=form.cleaned_data["grace"]),
                ),
            )
            if issued is not None:
                return self._show_once(request, issued, "Key rotated")
        return self.form_page(
            request, form=form, title=f"Rotate: {key.name}", submit="Rotate", obj=key,
            intro="The key gets a new secret, shown once on the next page. Scopes, limits and "
            "its history stay.",
        )  # fmt: skip

    @action(
        description="Revoke", permissions=["operate"], icon="block", variant=ActionVariant.DANGER
    )
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Confirm, then end the key."""
        key: ApiKey = self.wanted(request, object_id)
        if request.method == "POST":
            services.revoke_key(key=key, actor=self.acting(request))
            messages.success(request, f"{key.name} is revoked. It no longer works.")
            return HttpResponseRedirect(self.address(request, key))
        return self.form_page(
            request, form=forms.Form(), title=f"Revoke: {key.name}", submit="Revoke", obj=key,
            danger=True,
            intro="Whatever uses this key stops working at once, and the key cannot be brought "
            "back. To replace it without a gap, rotate it instead.",
            facts=self.facts(key),
        )  # fmt: skip

    def facts(self, key: ApiKey) -> dict[str, Any]:
        """What helps to decide whether this is the right key."""
        return {"Prefix": self.prefix_shown(key), "Scopes": ", ".join(key.scopes)}

    def _issue(self, form: forms.Form, make: Callable[[], IssuedKey]) -> IssuedKey | None:
        try:
            return make()
        except ApiKeyError as error:
            form.add_error(None, str(error))
            return None

    def _show_once(self, request: HttpRequest, issued: IssuedKey, title: str) -> TemplateResponse:
        """The answer to the POST is the only place where the secret ever is."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "object": issued.key,
            "title": title,
            "issued": issued,
            "address": self.address(request, issued.key),
            "base_url": f"{request.scheme}://{request.get_host()}",
        }
        request.current_app = self.admin_site.name
        response = TemplateResponse(request, "pillars/key_secret.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response


class TenantKeyAdmin(_KeyAdmin):
    """The keys of the tenant whose admin this is. Never another's, whatever id is asked for."""

    list_display = (
        "name", "prefix_shown", "scopes_shown", "state_shown", "last_used", "expires_at",
        "created_by",
    )  # fmt: skip
    list_filter = (KeyStateFilter,)
    fieldsets = (
        ("API key", {"fields": ("name", "state_shown", "prefix_shown", "scopes_shown")}),
        ("Use", {"fields": ("last_used", "use_shown", "limit_shown")}),
        (
            "Life",
            {"fields": ("created_at", "created_by", "expires_at", "revoked_at", "old_secret")},
        ),
    )
    readonly_fields = (*_KeyAdmin.readonly_fields, "last_used", "use_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        # The keys lie in the public schema, all tenants' in one table: this is the wall.
        schema = current_schema()
        found: QuerySet[ApiKey] = super().get_queryset(request)
        if schema == PUBLIC:
            return found.none()
        use = KeyUse.objects.filter(key_id=OuterRef("pk")).order_by("-day")
        return found.filter(tenant__schema_name=schema).annotate(
            used_at=Subquery(use.values("last_used_at")[:1])
        )

    def tenant_of(self, form: forms.Form) -> Tenant:
        """The tenant whose admin this is."""
        return Tenant.objects.get(schema_name=current_schema())

    @display(description="Last used", ordering="used_at")
    def last_used(self, key: Any) -> str:
        """As counted, up to a minute late."""
        return f"{key.used_at:%Y-%m-%d %H:%M} UTC" if key.used_at else "never"

    @display(description="Items, last 30 days")
    def use_shown(self, key: ApiKey) -> str:
        """Requests and items of the last 30 days."""
        since = timezone.now().date() - timedelta(days=30)
        rows = KeyUse.objects.filter(key_id=key.pk, day__gt=since).values_list("requests", "items")
        totals = [sum(column) for column in zip(*rows, strict=True)] or [0, 0]
        return f"{totals[1]:,} in {totals[0]:,} requests"

    def facts(self, key: ApiKey) -> dict[str, Any]:
        """With its use."""
        return {
            **super().facts(key),
            "Last used": self.last_used(key),
            "Items, last 30 days": self.use_shown(key),
        }


class PlatformKeyAdmin(_KeyAdmin):
    """All keys, for operators. How much a key is used stands in its tenant's admin alone."""

    form_class = PlatformKeyForm
    list_display = (
        "name", "tenant", "prefix_shown", "scopes_shown", "state_shown", "expires_at", "created_by",
    )  # fmt: skip
    list_filter = (("tenant", RelatedDropdownFilter), KeyStateFilter)
    list_select_related = ("tenant",)
    fieldsets = (
        ("API key", {"fields": ("name", "tenant", "state_shown", "prefix_shown", "scopes_shown")}),
        (
            "Life",
            {
                "fields": (
                    "created_at", "created_by", "expires_at", "revoked_at", "old_secret",
                    "limit_shown",
                )
            },
        ),
    )  # fmt: skip

    def acting(self, request: HttpRequest) -> str:
        """Marked, because the deed is recorded in a tenant, which may know the same user name."""
        return f"{actor(request)}@platform"

    def tenant_of(self, form: forms.Form) -> Tenant:
        """The chosen tenant."""
        tenant: Tenant = form.cleaned_data["tenant"]
        return tenant

    def facts(self, key: ApiKey) -> dict[str, Any]:
        """With its tenant."""
        return {"Tenant": key.tenant.name, **super().facts(key)}


def register_for_platform(site: AdminSite) -> None:
    """Add the keys of all tenants to the platform's site."""
    site.register(ApiKey, PlatformKeyAdmin)


def register_for_tenant(site: AdminSite) -> None:
    """Add a tenant's own keys to the tenant's site."""
    site.register(ApiKey, TenantKeyAdmin)

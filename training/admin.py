"""Versions of models in the platform's admin: the list, the page of one, and its steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from access.users.models import User
from pillars.admin import PillarsAdmin, actor
from pillars.badges import state_badge
from training import promotion, requests, services
from training.models import ModelVersion, VersionState
from training.registry import RegistryError
from training.selectors import live_version
from training.version_page import page_of, promotion_of

_EVERYWHERE = "It reaches every running process within two seconds; no request is lost meanwhile."


class StepForm(forms.Form):
    """Why, and that it is meant."""

    reason = forms.CharField(
        max_length=services.REASON_CHARS,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why. It stays in the history; write nothing personal here",
    )
    confirm = forms.BooleanField(widget=UnfoldBooleanWidget, label="I mean this version")


@dataclass(frozen=True, slots=True)
class Step:
    """One step that a page offers. `run` takes the version, the reason, the request."""

    name: str
    title: str
    states: tuple[VersionState, ...]
    permission: str
    intro: str
    done: str
    run: Callable[[ModelVersion, str, HttpRequest], object]
    danger: bool = False
    for_others: bool = False  # not for those who registered or trained it


STEPS = {
    step.name: step
    for step in (
        Step(
            "approve", "Approve", (VersionState.EVALUATED,), "approve",
            "You confirm that its figures and its data are sound, and that it may be promoted. "
            "Nothing changes for anybody yet.",
            "You have approved it.",
            lambda version, reason, request: services.approve(
                version=version, person=_person(request), comment=reason
            ),
            for_others=True,
        ),
        Step(
            "promote", "Promote", (VersionState.APPROVED,), "promote",
            "A worker checks its gates and every sample of its data set, loads it on the model's "
            f"server beside the one that answers, and then it answers every tenant. {_EVERYWHERE} "
            "What it replaces stays loaded, so that a rollback takes seconds.",
            "A worker promotes it.",
            lambda version, reason, request: requests.request_promotion(
                version=version, reason=reason, actor=actor(request)
            ),
        ),
        Step(
            "roll-back", "Roll back", (VersionState.LIVE,), "roll_back",
            f"The version that was live before answers every tenant again. {_EVERYWHERE}",
            "It is rolled back.",
            lambda version, reason, request: promotion.rollback(
                reason=reason, actor=actor(request)
            ),
            danger=True,
        ),
        Step(
            "withdraw", "Withdraw approval", (VersionState.APPROVED,), "approve",
            "It cannot be promoted, nor rolled back to, until somebody approves it again.",
            "It is not approved any more.",
            lambda version, reason, request: services.withdraw_approval(
                version=version, person=_person(request), reason=reason
            ),
        ),
        Step(
            "retire", "Retire",
            (VersionState.DRAFT, VersionState.EVALUATED, VersionState.APPROVED), "promote",
            "It is never promoted again, nor rolled back to. Its files and its record stay.",
            "It is retired.",
            lambda version, reason, request: promotion.retire(
                version=version, reason=reason, actor=actor(request)
            ),
            danger=True,
        ),
    )
}  # fmt: skip


class ModelVersionAdmin(PillarsAdmin):
    """Rows are shown; every step is a form that a service answers."""

    list_display = (
        "version_shown", "state_shown", "base", "f1_shown", "edition", "by_shown", "created_shown",
    )  # fmt: skip
    list_filter = ("state",)
    list_select_related = ("author",)
    search_fields = ("name", "version", "adapter_sha256", "data_set")
    sortable_by = ()
    list_per_page = 50
    list_before_template = "training/versions.html"
    list_empty_template = "training/empty.html"
    change_form_template = "training/version.html"
    fields = ()

    @display(description="Version")
    def version_shown(self, version: ModelVersion) -> str:
        """mapper-lora@v1.2.3."""
        return str(version)

    @display(description="State")
    def state_shown(self, version: ModelVersion) -> SafeString:
        """As a badge."""
        return state_badge(version.state, version.get_state_display())

    @display(description="Micro-F1")
    def f1_shown(self, version: ModelVersion) -> str:
        """With descriptions; a dash for a draft."""
        described = (version.evaluation or {}).get("described") or {}
        value = described.get("micro_f1")
        return f"{value:.3f}" if isinstance(value, int | float) else "-"

    @display(description="Registered by")
    def by_shown(self, version: ModelVersion) -> str:
        """Who answers for it."""
        return version.author.username

    @display(description="Registered (UTC)")
    def created_shown(self, version: ModelVersion) -> str:
        """When."""
        return f"{version.created_at:%Y-%m-%d %H:%M}"

    def get_urls(self) -> list[URLPattern]:
        """With a page for each step."""
        own = [
            path(
                f"<uuid:object_id>/{name}/",
                self.admin_site.admin_view(self._step_view(step)),
                name=f"training_modelversion_{name}",
            )
            for name, step in STEPS.items()
        ]
        follow = path(
            "<uuid:object_id>/promotion/",
            self.admin_site.admin_view(self.promotion_view),
            name="training_modelversion_promotion",
        )
        return [follow, *own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, below what is live."""
        extra: dict[str, Any] = {"title": "Versions of models", **(extra_context or {})}
        if self.may(request, "view"):
            extra["live"] = live_version()
            extra["may_roll_back"] = self.may(request, "roll_back")
        return super().changelist_view(request, extra)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one version."""
        version: ModelVersion = self.wanted(request, object_id)
        asked = promotion_of(version)
        steps = self._steps(request, version, waits=asked.get("waits", False))
        extra = {**page_of(version), "title": str(version), "steps": steps, "asked": asked}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def promotion_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """For the page that follows a promotion: nothing while it waits, then to be loaded anew."""
        if not self.may(request, "view"):
            raise PermissionDenied
        version: ModelVersion = self.wanted(request, str(object_id))
        if promotion_of(version).get("waits"):
            return HttpResponse(status=204)
        return HttpResponse(headers={"HX-Refresh": "true"})

    def _steps(
        self, request: HttpRequest, version: ModelVersion, *, waits: bool
    ) -> list[dict[str, Any]]:
        """The steps that the person may take now; none but a rollback while a promotion waits."""
        return [
            {
                "step": step,
                "href": reverse(f"admin:training_modelversion_{step.name}", args=[version.pk]),
            }
            for step in STEPS.values()
            if version.state in step.states
            and not (waits and version.state != VersionState.LIVE)
            and self.may(request, step.permission)
            and not (step.for_others and services.made_by(version, _person(request)))
        ]

    def _step_view(self, step: Step) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, object_id: UUID) -> HttpResponse:
            if not self.may(request, step.permission):
                raise PermissionDenied
            version: ModelVersion = self.wanted(request, str(object_id))
            form = StepForm(request.POST or None)
            if request.method == "POST" and form.is_valid():
                try:
                    step.run(version, form.cleaned_data["reason"], request)
                except RegistryError as error:
                    for line in str(error).splitlines():
                        form.add_error(None, line)
                else:
                    messages.success(request, f"{version}: {step.done}")
                    return HttpResponseRedirect(self.address(request, version))
            return self.form_page(
                request, form=form, title=f"{step.title}: {version}", submit=step.title,
                intro=step.intro, danger=step.danger, obj=version, facts=_facts(version),
            )  # fmt: skip

        return view


def _facts(version: ModelVersion) -> dict[str, str]:
    """What a person should see again before they confirm."""
    live = live_version()
    return {
        "State": version.get_state_display(),
        "SHA-256": version.adapter_sha256,
        "Live now": str(live) if live is not None else "the model of pillars.yaml, or none",
    }


def _person(request: HttpRequest) -> User:
    """Who is logged in; the site lets nobody else in."""
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


def register(site: AdminSite) -> None:
    """Add this app's pages to the platform's site."""
    site.register(ModelVersion, ModelVersionAdmin)

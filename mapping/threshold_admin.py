"""The page "Thresholds" of a tenant's admin: what holds, the history, choices."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from mapping import overrides
from mapping.models import ThresholdOverride, ThresholdScope
from mapping.overrides import ThresholdError
from mapping.selectors import NoKnowledgeError
from mapping.thresholds import overrides_in_force, platform_layer
from pillars.admin import PillarsAdmin, actor
from pillars.badges import badge

_EVERY = ThresholdScope.TENANT
_ORDER = (
    "The first that says something wins: this tenant's for the label or its longest branch, this "
    "tenant's for the detector, this tenant's for every label, then the platform's in the same "
    "order."
)


class NoteForm(forms.Form):
    """Why."""

    note = forms.CharField(
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why. It stays in the history; write nothing personal here",
    )


class ValueForm(NoteForm):
    """A threshold for every label, and why."""

    value = forms.DecimalField(
        label="Threshold",
        min_value=0,
        max_value=1,
        max_digits=7,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="Probability, 0 to 1. Mappings under it are left to review",
    )
    field_order = ("detector", "other", "branch", "value", "note")

    @property
    def subject(self) -> str:
        """What the threshold holds for."""
        return ""


class DetectorForm(ValueForm):
    """A threshold for a detector."""

    detector = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    other = forms.CharField(
        label="Or a detector without a file",
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Its name as events show it",
    )

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        names = sorted(overrides.knowledge_in_force().detectors)
        field = self.fields["detector"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [("", "Choose a detector"), *((name, name) for name in names)]

    def clean(self) -> dict[str, Any]:
        """One of both."""
        if bool(self.cleaned_data.get("detector")) == bool(self.cleaned_data.get("other")):
            self.add_error("detector", "Choose a detector, or name one below: one of both.")
        return self.cleaned_data

    @property
    def subject(self) -> str:
        """The detector."""
        return str(self.cleaned_data["detector"] or self.cleaned_data["other"])


class BranchForm(ValueForm):
    """A threshold for a label or branch."""

    branch = forms.ChoiceField(label="Label or branch", widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        names = overrides.branches(overrides.knowledge_in_force().severities)
        field = self.fields["branch"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [("", "Choose a label or branch"), *((name, name) for name in names)]

    @property
    def subject(self) -> str:
        """The label or branch."""
        return str(self.cleaned_data["branch"])


class ThresholdOverrideAdmin(PillarsAdmin):
    """The choices of this tenant; above them what holds now, and ways to choose anew."""

    list_display = (
        "made", "what", "value_shown", "previous_shown", "made_by_shown", "note",
    )  # fmt: skip
    ordering = ("-number",)
    sortable_by = ()
    list_per_page = 25
    list_before_template = "mapping/thresholds.html"

    @display(description="When (UTC)")
    def made(self, choice: ThresholdOverride) -> str:
        """To the minute."""
        return f"{choice.made_at:%Y-%m-%d %H:%M}"

    @display(description="For")
    def what(self, choice: ThresholdOverride) -> str:
        """What it holds for."""
        return choice.subject or choice.get_scope_display().lower()

    @display(description="Threshold from then on")
    def value_shown(self, choice: ThresholdOverride) -> SafeString | str:
        """A number, or that it was taken away."""
        return badge("taken away") if choice.value is None else f"{choice.value:g}"

    @display(description="Until then")
    def previous_shown(self, choice: ThresholdOverride) -> str:
        """The tenant's own before."""
        return "none of its own" if choice.previous is None else f"{choice.previous:g}"

    @display(description="By")
    def made_by_shown(self, choice: ThresholdOverride) -> str:
        """Who."""
        return choice.made_by.removeprefix("user:")

    def get_urls(self) -> list[URLPattern]:
        """The pages of a choice, before those of the rows."""
        views: dict[str, Callable[..., HttpResponse]] = {
            "set/every-label/": self.every_view,
            "set/detector/": self.detector_view,
            "set/branch/": self.branch_view,
            "<uuid:object_id>/take-away/": self.take_away_view,
        }
        own = [
            path(
                route,
                self.admin_site.admin_view(view),
                name=f"mapping_thresholdoverride_{view.__name__.removesuffix('_view')}",
            )
            for route, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What holds, and the history."""
        extra: dict[str, Any] = {"title": "Thresholds", **(extra_context or {})}
        if self.may(request, "view"):
            platform = platform_layer()
            rows = [
                *(("every label", platform.default),),
                *sorted(platform.branches.items()),
                *sorted(platform.detectors.items()),
            ]
            extra |= {
                "own": overrides_in_force(),
                "of_platform": rows,
                "order": _ORDER,
                "may_choose": self.may(request, "add"),
            }
        return super().changelist_view(request, extra)

    def every_view(self, request: HttpRequest) -> HttpResponse:
        """Set the threshold for every label."""
        return self._set(request, ValueForm, _EVERY, "Set the threshold for every label")

    def detector_view(self, request: HttpRequest) -> HttpResponse:
        """Set the threshold for a detector."""
        return self._set(
            request, DetectorForm, ThresholdScope.DETECTOR, "Set the threshold for a detector"
        )

    def branch_view(self, request: HttpRequest) -> HttpResponse:
        """Set the threshold for a label or branch."""
        return self._set(
            request, BranchForm, ThresholdScope.BRANCH, "Set the threshold for a label or branch"
        )

    def take_away_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Take the tenant's threshold away."""
        if not self.may(request, "add"):
            raise PermissionDenied
        choice: ThresholdOverride = self.wanted(request, str(object_id))
        form = NoteForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                overrides.take_threshold_away(
                    scope=ThresholdScope(choice.scope),
                    subject=choice.subject,
                    actor=actor(request),
                    note=form.cleaned_data["note"],
                )
            except ThresholdError as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"Taken away: the threshold for {self.what(choice)}.")
            return HttpResponseRedirect(self.address(request))
        return self.form_page(
            request, form=form, title=f"Take the threshold for {self.what(choice)} away",
            submit="Take away", intro=f"What is less specific holds again. {_ORDER}",
        )  # fmt: skip

    def _set(
        self,
        request: HttpRequest,
        form_class: type[ValueForm],
        scope: ThresholdScope,
        title: str,
    ) -> HttpResponse:
        """GET asks, POST does; what the service refuses stands above the form."""
        if not self.may(request, "add"):
            raise PermissionDenied
        try:
            form = form_class(request.POST or None)
        except NoKnowledgeError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(self.address(request))
        if request.method == "POST" and form.is_valid():
            try:
                choice = overrides.set_threshold(
                    scope=scope,
                    subject=form.subject,
                    value=float(form.cleaned_data["value"]),
                    actor=actor(request),
                    note=form.cleaned_data["note"],
                )
            except ThresholdError as error:
                form.add_error(None, str(error))
            else:
                messages.success(
                    request, f"The threshold for {self.what(choice)} is {choice.value:g}."
                )
                return HttpResponseRedirect(self.address(request))
        return self.form_page(request, form=form, title=title, submit="Set", intro=_ORDER)

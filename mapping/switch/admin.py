"""The page "Mapping mode" of the platform's admin: what is in force, the history, choices."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import VERTICAL, AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from mapping.mode import read_mode
from mapping.switch import services
from mapping.switch.models import ChoiceKind, Mode, ModeChoice
from mapping.switch.services import ModeError
from pillars.admin import PillarsAdmin, actor
from pillars.badges import badge

_TONES = {ChoiceKind.KILL_ON: "worst", ChoiceKind.KILL_OFF: "good", ChoiceKind.CHOSEN: "accent"}
_OF_FILE = "file"
_EVERYWHERE = "It holds for every tenant and reaches every running process within two seconds."


class SwitchForm(forms.Form):
    """Why, and that it is meant."""

    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why. It stays in the history; write nothing personal here",
    )
    confirm = forms.BooleanField(
        label="I mean the whole platform",
        widget=UnfoldBooleanWidget,
        help_text="Every tenant's outputs are mapped so from now on",
    )


class ModeForm(SwitchForm):
    """A mode, why, and that it is meant."""

    mode = forms.ChoiceField(
        choices=[*Mode.choices, (_OF_FILE, "As pillars.yaml says (mapping.mode)")],
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
    )
    field_order = ("mode", "reason", "confirm")


class ModeChoiceAdmin(PillarsAdmin):
    """The choices made so far; above them what is in force, and ways to choose anew."""

    list_display = ("made", "kind_shown", "from_then_on", "until_then", "made_by_shown", "reason")
    ordering = ("-number",)
    sortable_by = ()
    list_per_page = 25
    list_before_template = "switch/mode.html"

    @display(description="When (UTC)")
    def made(self, choice: ModeChoice) -> str:
        """To the second: in an incident that counts."""
        return f"{choice.made_at:%Y-%m-%d %H:%M:%S}"

    @display(description="What")
    def kind_shown(self, choice: ModeChoice) -> SafeString:
        """As a badge."""
        return badge(choice.get_kind_display(), _TONES[ChoiceKind(choice.kind)])

    @display(description="From then on")
    def from_then_on(self, choice: ModeChoice) -> str:
        """The mode, or that pillars.yaml is followed."""
        return choice.effective if choice.mode else f"{choice.effective}, of pillars.yaml"

    @display(description="Until then")
    def until_then(self, choice: ModeChoice) -> str:
        """The same for before."""
        return f"{choice.previous}, of pillars.yaml" if choice.followed else choice.previous

    @display(description="By")
    def made_by_shown(self, choice: ModeChoice) -> str:
        """Who."""
        return choice.made_by.removeprefix("user:")

    def get_urls(self) -> list[URLPattern]:
        """The pages of a choice, before those of the rows."""
        views: dict[str, Callable[..., HttpResponse]] = {
            "choose/": self.choose_view,
            "kill-switch/on/": self.kill_on_view,
            "kill-switch/off/": self.kill_off_view,
        }
        own = [
            path(
                route,
                self.admin_site.admin_view(view),
                name=f"switch_modechoice_{view.__name__.removesuffix('_view')}",
            )
            for route, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What is in force, and the history."""
        extra: dict[str, Any] = {"title": "Mapping mode", **(extra_context or {})}
        if self.may(request, "view"):
            mode = read_mode()
            extra |= {
                "mode": mode,
                "mode_title": Mode(mode.mode).label,
                "by": (mode.by or "").removeprefix("user:"),
                "may_choose": self.may(request, "add"),
            }
        return super().changelist_view(request, extra)

    def choose_view(self, request: HttpRequest) -> HttpResponse:
        """Choose a mode."""
        form = ModeForm(request.POST or None, initial={"mode": read_mode().mode})

        def choose() -> ModeChoice:
            mode = form.cleaned_data["mode"]
            return services.change_mode(
                mode=None if mode == _OF_FILE else mode,
                reason=form.cleaned_data["reason"],
                actor=actor(request),
            )

        return self._act(
            request, form, choose, title="Choose the mapping mode", submit="Choose this mode",
            intro=_EVERYWHERE,
        )  # fmt: skip

    def kill_on_view(self, request: HttpRequest) -> HttpResponse:
        """Turn the kill switch on."""
        form = SwitchForm(request.POST or None)
        return self._act(
            request, form,
            lambda: services.turn_kill_switch_on(
                reason=form.cleaned_data["reason"], actor=actor(request)
            ),
            title="Turn the kill switch on", submit="Turn the kill switch on", danger=True,
            intro="From then on rules alone map: unknown labels are answered as OTHER.Unknown, and "
            f"no model is asked. {_EVERYWHERE}",
        )  # fmt: skip

    def kill_off_view(self, request: HttpRequest) -> HttpResponse:
        """Turn the kill switch off."""
        form = SwitchForm(request.POST or None)
        last = services.last_choice()
        before = self.until_then(last) if last and last.kind == ChoiceKind.KILL_ON else "as it is"
        return self._act(
            request, form,
            lambda: services.turn_kill_switch_off(
                reason=form.cleaned_data["reason"], actor=actor(request)
            ),
            title="Turn the kill switch off", submit="Turn the kill switch off",
            intro=f"The mode goes back to what it was before: {before}. {_EVERYWHERE}",
        )  # fmt: skip

    def _act(
        self,
        request: HttpRequest,
        form: forms.Form,
        choose: Callable[[], ModeChoice],
        *,
        title: str,
        submit: str,
        intro: str,
        danger: bool = False,
    ) -> HttpResponse:
        """GET asks, POST does; what the service refuses stands above the form."""
        if not self.may(request, "add"):
            raise PermissionDenied
        if request.method == "POST" and form.is_valid():
            try:
                choice = choose()
            except ModeError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"From now on: {self.from_then_on(choice)}.")
                return HttpResponseRedirect(self.address(request))
        return self.form_page(
            request, form=form, title=title, submit=submit, intro=intro, danger=danger
        )


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(ModeChoice, ModeChoiceAdmin)

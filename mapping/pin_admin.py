"""The page "Knowledge version" of a tenant's admin: what is in force, previews, choices."""

import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from mapping import pins
from mapping.models import KnowledgePin, PinKind
from mapping.pins import PinError, TenantKnowledge, tenant_knowledge
from mapping.release_impact import release_impact
from pillars.admin import PillarsAdmin, actor
from pillars.badges import badge
from taxonomy.errors import NoReleaseError
from taxonomy.models import KnowledgeRelease
from taxonomy.objects import compare
from taxonomy.selectors import documents_of
from taxonomy.wording import as_json, present

_RELEASES = 20
_TONES = {PinKind.FOLLOW: "accent", PinKind.UNDO: "wait"}


class ChoiceForm(forms.Form):
    """A choice: why, and which serials the person saw when they decided."""

    note = forms.CharField(
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why. It stays in the history; write nothing personal here",
    )
    seen = forms.IntegerField(widget=forms.HiddenInput)
    newest = forms.IntegerField(widget=forms.HiddenInput)

    @classmethod
    def shown(cls, request: HttpRequest, knowledge: TenantKnowledge) -> "ChoiceForm":
        """The form as it was sent, or a new one about what is in force now."""
        now = {"seen": knowledge.effective, "newest": knowledge.newest}
        return cls(request.POST) if request.method == "POST" else cls(initial=now)

    def renew(self, knowledge: TenantKnowledge) -> None:
        """Keep the note and the errors; the page that goes out shows what is in force now."""
        now = {"seen": str(knowledge.effective), "newest": str(knowledge.newest)}
        self.data = {**{name: self.data.get(name) for name in self.data}, **now}


class KnowledgePinAdmin(PillarsAdmin):
    """The choices of this tenant; above them what is in force, and ways to choose anew."""

    list_display = (
        "made", "kind_shown", "from_then_on", "previous_shown", "made_by_shown", "note",
        "undo_shown",
    )  # fmt: skip
    ordering = ("-number",)
    sortable_by = ()
    list_per_page = 25
    list_before_template = "mapping/knowledge_version.html"

    @display(description="When (UTC)")
    def made(self, choice: KnowledgePin) -> str:
        """To the minute."""
        return f"{choice.made_at:%Y-%m-%d %H:%M}"

    @display(description="What")
    def kind_shown(self, choice: KnowledgePin) -> SafeString:
        """As a badge."""
        tone = _TONES.get(PinKind(choice.kind), "good")
        return badge(choice.get_kind_display(), tone)

    @display(description="From then on")
    def from_then_on(self, choice: KnowledgePin) -> str:
        """The release, or that the newest is followed."""
        if choice.release is None:
            return f"the newest, then release {choice.effective}"
        return f"release {choice.release}"

    @display(description="Until then")
    def previous_shown(self, choice: KnowledgePin) -> str:
        """The same for before."""
        return f"{'the newest, ' if choice.followed else ''}release {choice.previous}"

    @display(description="By")
    def made_by_shown(self, choice: KnowledgePin) -> str:
        """Who."""
        return choice.made_by.removeprefix("user:")

    @display(description="Can be undone until (UTC)")
    def undo_shown(self, choice: KnowledgePin) -> str:
        """Only the last choice can be undone."""
        return f"{choice.undo_until:%Y-%m-%d %H:%M}" if choice.undo_until else "no"

    def get_urls(self) -> list[URLPattern]:
        """The pages of a choice, before those of the rows."""
        views: dict[str, Callable[..., HttpResponse]] = {
            "pin/": self.pin_view,
            "follow/": self.follow_view,
            "undo/": self.undo_view,
            "preview/<int:serial>/": self.preview_view,
            "preview/<int:serial>/difference.json": self.download_view,
        }
        own = [
            path(
                route,
                self.admin_site.admin_view(view),
                name=f"mapping_knowledgepin_{view.__name__.removesuffix('_view')}",
            )
            for route, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What is in force, the releases, and the history."""
        extra: dict[str, Any] = {"title": "Knowledge version", **(extra_context or {})}
        if self.may(request, "view"):
            try:
                knowledge = tenant_knowledge()
            except NoReleaseError as error:
                extra["no_knowledge"] = str(error)
            else:
                extra |= {
                    "knowledge": knowledge,
                    "releases": pins.releases_to_choose(_RELEASES),
                    "may_choose": self.may(request, "add"),
                }
        return super().changelist_view(request, extra)

    def pin_view(self, request: HttpRequest) -> HttpResponse:
        """Stay with what is in force."""
        now = self._knowledge(request, "add")

        def choose(form: ChoiceForm) -> KnowledgePin:
            seen, note = form.cleaned_data["seen"], form.cleaned_data["note"]
            return pins.pin_release(serial=seen, actor=actor(request), note=note)

        form, answer = self._choice(request, now, choose)
        return answer or self.form_page(
            request, form=form, title=f"Pin release {now.effective}",
            submit=f"Pin release {now.effective}",
            intro=f"Release {now.effective} stays in force for this tenant, whichever release "
            "comes after it, until somebody here applies another one.",
        )  # fmt: skip

    def undo_view(self, request: HttpRequest) -> HttpResponse:
        """Go back to what was in force before the last choice."""
        now = self._knowledge(request, "add")
        if now.last is None or now.undo_until is None:
            messages.error(request, "There is no choice that could be undone now.")
            return HttpResponseRedirect(self.address(request))

        def choose(form: ChoiceForm) -> KnowledgePin:
            seen, note = form.cleaned_data["seen"], form.cleaned_data["note"]
            return pins.undo_last(seen=seen, actor=actor(request), note=note)

        form, answer = self._choice(request, now, choose)
        return answer or self.form_page(
            request, form=form, title="Undo the last choice",
            submit=f"Go back to release {now.last.previous}",
            intro=f"Release {now.last.previous} comes into force again for this tenant. Events "
            "that were mapped meanwhile keep the release that mapped them.",
            facts={
                "Last choice": f"{now.last.get_kind_display()}: {self.from_then_on(now.last)}",
                "Made by": self.made_by_shown(now.last),
                "In force now": f"release {now.effective}",
                "In force afterwards": f"release {now.last.previous}, "
                + ("followed as the newest" if now.undo_follows else "pinned"),
                "Can be undone until (UTC)": self.undo_shown(now.last),
            },
        )  # fmt: skip

    def follow_view(self, request: HttpRequest) -> HttpResponse:
        """Follow the newest release, whose difference is shown."""
        now = self._knowledge(request, "add")
        if not now.pinned:
            messages.info(request, "The newest release is followed already.")
            return HttpResponseRedirect(self.address(request))

        def choose(form: ChoiceForm) -> KnowledgePin:
            data = form.cleaned_data
            return pins.follow_newest(
                seen=data["seen"], newest=data["newest"], actor=actor(request), note=data["note"]
            )

        form, answer = self._choice(request, now, choose)
        return answer or self._difference_page(
            request, now, now.newest, form, submit="Follow the newest release"
        )

    def preview_view(self, request: HttpRequest, serial: int) -> HttpResponse:
        """What another release would change, and the form that applies it."""
        verb = "add" if request.method == "POST" else "view"
        now = self._knowledge(request, verb)
        _existing(serial)

        def choose(form: ChoiceForm) -> KnowledgePin:
            seen, note = form.cleaned_data["seen"], form.cleaned_data["note"]
            return pins.apply_release(serial=serial, seen=seen, actor=actor(request), note=note)

        form, answer = self._choice(request, now, choose)
        offered = self.may(request, "add") and serial != now.effective
        return answer or self._difference_page(
            request, now, serial, form, submit=f"Apply release {serial}" if offered else ""
        )

    def download_view(self, request: HttpRequest, serial: int) -> HttpResponse:
        """The whole difference as JSON."""
        now = self._knowledge(request, "view")
        _existing(serial)
        differences = compare(documents_of(now.effective), documents_of(serial))
        found = {"from": now.effective, "to": serial, "differences": as_json(differences)}
        name = f"pillars-knowledge-{now.effective}-to-{serial}.json"
        return HttpResponse(
            json.dumps(found, ensure_ascii=False, indent=1),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def _knowledge(self, request: HttpRequest, verb: str) -> TenantKnowledge:
        """What is in force, for those who may. Raises PermissionDenied; Http404 if nothing is."""
        if not self.may(request, verb):
            raise PermissionDenied
        try:
            return tenant_knowledge()
        except NoReleaseError:
            raise Http404 from None

    def _choice(
        self,
        request: HttpRequest,
        now: TenantKnowledge,
        choose: Callable[[ChoiceForm], KnowledgePin],
    ) -> tuple[ChoiceForm, HttpResponse | None]:
        """The form; and the answer if it was sent and the choice is made."""
        form = ChoiceForm.shown(request, now)
        if request.method != "POST":
            return form, None
        if form.is_valid():
            try:
                choice = choose(form)
            except PinError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"From now on: {self.from_then_on(choice)}.")
                return form, HttpResponseRedirect(self.address(request))
        form.renew(now)
        return form, None

    def _difference_page(
        self,
        request: HttpRequest,
        now: TenantKnowledge,
        serial: int,
        form: ChoiceForm,
        *,
        submit: str,
    ) -> TemplateResponse:
        in_force = documents_of(now.effective)
        differences = compare(in_force, documents_of(serial))
        try:
            impact = release_impact(differences, in_force)
        except OperationalError as error:
            if "statement timeout" not in str(error):
                raise
            impact = None
        name = f"{self.admin_site.name}:mapping_knowledgepin_download"
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Release {now.effective} → {serial}",
            "knowledge": now,
            "serial": serial,
            "groups": present(differences),
            "whole_url": reverse(name, args=[serial]),
            "impact": impact,
            "form": form,
            "submit": submit,
            "back": self.address(request),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "mapping/release_preview.html", context)


def _existing(serial: int) -> None:
    if not KnowledgeRelease.objects.filter(serial=serial).exists():
        raise Http404

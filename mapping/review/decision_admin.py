"""The page "Label decisions" of a tenant's admin: what was decided, by whom, and how to undo it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from mapping.models import LabelDecision
from mapping.review import selectors, services
from mapping.review.services import ReviewError
from pillars.admin import PillarsAdmin, actor
from pillars.badges import badge, state_badge
from taxonomy.changes.models import SuggestionState
from taxonomy.changes.suggesting import own_suggestion


class NoteForm(forms.Form):
    """Why, for the history."""

    note = forms.CharField(
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why. It stays in the history; write nothing personal here",
    )


class SuggestForm(forms.Form):
    """What the platform's operators read beside the label."""

    note = forms.CharField(
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="The operators of the platform read it. Write nothing that is your own alone",
    )


class LabelDecisionAdmin(PillarsAdmin):
    """All decisions and withdrawals of the tenant, newest first."""

    list_display = (
        "label_shown", "detector_shown", "meaning_shown", "standing", "by_shown", "when", "note",
    )  # fmt: skip
    list_display_links = ("label_shown",)
    search_fields = ("label", "detector")
    search_help_text = "The detector's label, or the detector"
    sortable_by = ()
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[LabelDecision]:
        newest = Q(pk__in=selectors.newest_of_each())
        return LabelDecision.objects.annotate(newest=newest).order_by("-number")

    @display(description="Detector's label")
    def label_shown(self, row: LabelDecision) -> SafeString:
        """As it came, or that its hash alone is kept."""
        if row.label is not None:
            return format_html('<span class="pl-mono">{}</span>', row.label)
        return format_html(
            'a text, kept as hash <span class="pl-mono">{}</span>', str(row.digest)[:8]
        )

    @display(description="Detector")
    def detector_shown(self, row: LabelDecision) -> str:
        """With its version."""
        return f"{row.detector}, {row.detector_version or 'any version'}"

    @display(description="Means")
    def meaning_shown(self, row: LabelDecision) -> SafeString:
        """The canonical labels."""
        if not row.canonical:
            return badge("not a finding")
        shown = ((label,) for label in row.canonical)
        return format_html_join("", '<span class="pl-label">{}</span>', shown)

    @display(description="State")
    def standing(self, row: LabelDecision) -> SafeString:
        """Whether it counts."""
        if row.withdrawn:
            return badge("withdrawal")
        if not row.newest:  # type: ignore[attr-defined]
            return badge("not in force")
        return badge("in force", "good")

    @display(description="By")
    def by_shown(self, row: LabelDecision) -> str:
        """Who."""
        return row.decided_by.removeprefix("user:")

    @display(description="When (UTC)")
    def when(self, row: LabelDecision) -> SafeString:
        """To the minute."""
        moment = f"{row.decided_at:%Y-%m-%d %H:%M}"
        return format_html('<span class="pl-nowrap">{}</span>', moment)

    def get_urls(self) -> list[URLPattern]:
        """With the steps."""
        view, name = self.admin_site.admin_view, "mapping_labeldecision"
        return [
            path("<uuid:object_id>/withdraw/", view(self.withdraw_view), name=f"{name}_withdraw"),
            path("<uuid:object_id>/suggest/", view(self.suggest_view), name=f"{name}_suggest"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One decision, and what was decided for the same label before and after."""
        if not self.may(request, "view"):
            raise PermissionDenied
        row: LabelDecision = self.wanted(request, object_id)
        in_force = selectors.in_force(row)
        suggestion = _suggestion(request, row)
        same = self.get_queryset(request).filter(
            detector=row.detector, label=row.label, digest=row.digest
        )
        return self.page(request, "mapping/review/decision.html", {
            "title": str(row),
            "decision": row,
            "standing": self.standing(row),
            "meaning": self.meaning_shown(row),
            "label": self.label_shown(row),
            "rows": [
                {"row": one, "standing": self.standing(one)}
                for one in same[:50]
            ],
            "may_withdraw": in_force and self.may(request, "add"),
            "may_suggest": in_force and _may_suggest(request, row, suggestion),
            "suggestion": suggestion,
            "back": self.address(request),
        })  # fmt: skip

    def withdraw_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Take it back."""
        if not self.may(request, "add"):
            raise PermissionDenied
        row: LabelDecision = self.wanted(request, str(object_id))
        form = NoteForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                services.withdraw(
                    decision=row.pk, note=form.cleaned_data["note"], actor=actor(request)
                )
            except ReviewError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"Withdrawn: {row} waits in the queue again.")
                return HttpResponseRedirect(self.address(request))
        return self.form_page(
            request, form=form, title=f"Withdraw: {row}", submit="Withdraw the decision", obj=row,
            danger=True, facts=self._facts(row),
            intro="From now on the label is unknown again and waits in the queue. Events that were "
            "mapped by the decision stay as they are.",
        )  # fmt: skip

    def suggest_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Offer it to everybody."""
        if not request.user.has_perm("mapping.suggest_labeldecision"):
            raise PermissionDenied
        row: LabelDecision = self.wanted(request, str(object_id))
        tenant = request.host_tenant  # type: ignore[attr-defined]
        form = SuggestForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                services.suggest(
                    decision=row.pk, tenant=tenant.id, note=form.cleaned_data["note"],
                    actor=actor(request),
                )  # fmt: skip
            except ReviewError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"Suggested: {row}. The answer will stand here.")
                return HttpResponseRedirect(self.address(request, row))
        return self.form_page(
            request, form=form, title=f"Propose for everybody: {row}", submit="Propose", obj=row,
            facts={**self._facts(row), "Said of you": tenant.name},
            intro="The operators of the platform see the detector's name, its label, what it "
            "means, the name of this tenant and your note: nothing else. If they take it over, it "
            "holds for every tenant.",
        )  # fmt: skip

    def _facts(self, row: LabelDecision) -> dict[str, Any]:
        return {
            "Detector": self.detector_shown(row),
            "Detector's label": self.label_shown(row),
            "Means": row.meaning,
        }


def _suggestion(request: HttpRequest, row: LabelDecision) -> dict[str, Any] | None:
    """This tenant's own suggestion for the label."""
    if row.label is None:
        return None
    tenant = request.host_tenant  # type: ignore[attr-defined]
    found = own_suggestion(tenant=tenant.id, detector=row.detector, label=row.label)
    if found is None:
        return None
    return {"row": found, "badge": state_badge(found.state, found.get_state_display())}


def _may_suggest(
    request: HttpRequest, row: LabelDecision, suggestion: dict[str, Any] | None
) -> bool:
    """Whether the button is offered: what waits or was taken over is not suggested again."""
    answered = suggestion is None or suggestion["row"].state == SuggestionState.DECLINED
    may = request.user.has_perm("mapping.suggest_labeldecision")
    return answered and may and services.can_be_suggested(row)

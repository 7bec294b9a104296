"""The page "Suggestions" of the platform's admin: what tenants offer to everybody."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from access.users.models import User
from pillars.admin import PillarsAdmin
from pillars.badges import state_badge
from taxonomy.changes import suggesting
from taxonomy.changes.errors import ChangeError
from taxonomy.changes.models import Suggestion, SuggestionState


class DeclineForm(forms.Form):
    """Why not."""

    answer = forms.CharField(
        max_length=300, widget=UnfoldAdminTextInputWidget, help_text="Why. The tenant reads it"
    )


class SuggestionAdmin(PillarsAdmin):
    """What tenants suggest; one click makes a change set of it, which others approve as always."""

    list_display = ("__str__", "meaning_shown", "tenant_shown", "made", "state_shown")
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("detector", "label")
    sortable_by = ()
    list_select_related = ("tenant",)

    @display(description="Means")
    def meaning_shown(self, suggestion: Suggestion) -> str:
        """The labels."""
        return suggestion.meaning

    @display(description="Suggested by")
    def tenant_shown(self, suggestion: Suggestion) -> str:
        """The tenant's name."""
        return suggestion.tenant.name

    @display(description="When (UTC)")
    def made(self, suggestion: Suggestion) -> str:
        """To the minute."""
        return f"{suggestion.made_at:%Y-%m-%d %H:%M}"

    @display(description="State")
    def state_shown(self, suggestion: Suggestion) -> SafeString:
        """As a badge."""
        return state_badge(suggestion.state, suggestion.get_state_display())

    def get_urls(self) -> list[URLPattern]:
        """With the two answers."""
        view, name = self.admin_site.admin_view, "changes_suggestion"
        return [
            path("<uuid:object_id>/adopt/", view(self.adopt_view), name=f"{name}_adopt"),
            path("<uuid:object_id>/decline/", view(self.decline_view), name=f"{name}_decline"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One suggestion, with the ways to answer it."""
        if not self.may(request, "view"):
            raise PermissionDenied
        found: Suggestion = self.wanted(request, object_id)
        is_open = found.state == SuggestionState.OPEN
        return self.page(request, "changes/suggestion.html", {
            "title": str(found), "suggestion": found, "badge": self.state_shown(found),
            "may_adopt": is_open and request.user.has_perm("changes.add_changeset"),
            "may_decline": is_open and self.may(request, "change"),
            "back": self.address(request),
        })  # fmt: skip

    def adopt_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Make a change set of it."""
        if not request.user.has_perm("changes.add_changeset") or not self.may(request, "view"):
            raise PermissionDenied
        found: Suggestion = self.wanted(request, str(object_id))
        if request.method != "POST":
            return HttpResponseRedirect(self.address(request, found))
        try:
            made = suggesting.adopt(suggestion=found.pk, author=_person(request))
        except ChangeError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(self.address(request, found))
        messages.success(request, "It is in a draft of yours. Look at it, and submit it.")
        return HttpResponseRedirect(reverse("admin:changes_changeset_change", args=[made.number]))

    def decline_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Say no."""
        if not self.may(request, "change"):
            raise PermissionDenied
        found: Suggestion = self.wanted(request, str(object_id))
        form = DeclineForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                suggesting.decline(
                    suggestion=found.pk, answer=form.cleaned_data["answer"],
                    person=_person(request),
                )  # fmt: skip
            except ChangeError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"{found} is declined. {found.tenant.name} reads why.")
                return HttpResponseRedirect(self.address(request))
        return self.form_page(
            request, form=form, title=f"Decline: {found}", submit="Decline", obj=found,
            facts={"Suggested by": found.tenant.name, "Means": found.meaning},
        )  # fmt: skip


def _person(request: HttpRequest) -> User:
    """Who is logged in; the site lets nobody else in."""
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


def register(site: AdminSite) -> None:
    """Put the page on the platform's site."""
    site.register(Suggestion, SuggestionAdmin)

"""The pages of onboarding, in the admin of the platform: beside change sets and detectors.

First a detector and its labels, then a table in which a person decides what each label means, then
the change set. What goes from page to page is signed, in the form: no session knows of it.
"""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from unfold.decorators import action
from unfold.widgets import INPUT_CLASSES, SELECT_CLASSES

from access.users.models import User
from mapping.onboarding.draft import Draft, StateError, put_into_change_set
from mapping.onboarding.forms import SourceForm, TargetForm
from mapping.onboarding.proposing import proposals_of_release
from mapping.onboarding.table import PAGE_ROWS, Table
from taxonomy.admin import DetectorMapAdmin
from taxonomy.changes.admin import ChangeSetAdmin
from taxonomy.changes.errors import ChangeError
from taxonomy.changes.models import ChangeSet
from taxonomy.changes.selectors import drafts_for
from taxonomy.models import DetectorMap
from taxonomy.selectors import current_documents, current_serial

_FIRST = "admin:changes_changeset_add_detector"
_SECOND = "admin:changes_changeset_add_detector_labels"


class OnboardingChangeSetAdmin(ChangeSetAdmin):
    """Change sets, with the way to a new detector."""

    actions_list = (*ChangeSetAdmin.actions_list, "onboard")
    change_form_template = "mapping/onboarding/changeset.html"

    def get_urls(self) -> list[URLPattern]:
        """With the two pages."""
        view = self.admin_site.admin_view
        name = "changes_changeset_add_detector"
        return [
            path("add-detector/", view(self.source_view), name=name),
            path("add-detector/labels/", view(self.labels_view), name=f"{name}_labels"),
            *super().get_urls(),
        ]

    @action(description="Add a detector", permissions=["add"], url_path="onboard", icon="sensors")
    def onboard(self, request: HttpRequest) -> HttpResponse:
        """Go to the first page."""
        return HttpResponseRedirect(reverse(_FIRST))

    def source_view(self, request: HttpRequest) -> HttpResponse:
        """The detector, and where its labels come from. A right form is answered by the table."""
        self._allowed(request)
        if current_serial() is None:
            messages.error(request, "No knowledge is loaded. Run `manage.py load_config` first.")
            return HttpResponseRedirect(self.address(request))
        form = SourceForm(
            request.POST or None, request.FILES or None, documents=current_documents(),
            initial={"detector": request.GET.get("detector", "")[:60]},
        )  # fmt: skip
        if request.method == "POST" and form.is_valid():
            into = request.POST.get("into", "")
            table = Table(form.draft, form.documents.taxonomy, form.proposals)
            return self._table_page(request, table, self._target(request, form.draft, into))
        return self.page(request, "mapping/onboarding/source.html", {
            "title": "Add a detector", "form": form, "back": self.address(request),
            "into": request.POST.get("into") or request.GET.get("change_set", ""),
        })  # fmt: skip

    def labels_view(self, request: HttpRequest) -> HttpResponse:
        """The table: another page of it, or the change set."""
        self._allowed(request)
        try:
            draft = Draft.restored(request.POST.get("state", ""))
        except StateError as error:
            if request.method == "POST":
                messages.error(request, str(error))
            return HttpResponseRedirect(reverse(_FIRST))
        documents = current_documents()
        proposals = proposals_of_release(documents.serial, documents.taxonomy)
        table = Table(draft, documents.taxonomy, proposals)
        table.page = _page(request.POST.get("page", ""), table.pages)
        table.take(request.POST, table.page)
        go = request.POST.get("go", "")
        if go != "submit":
            table.page = _page(go, table.pages, table.page)
            form = self._target(request, draft, given=request.POST)
            return self._table_page(request, table, form)
        return self._submit(request, table)

    def _submit(self, request: HttpRequest, table: Table) -> HttpResponse:
        draft = table.draft
        form = TargetForm(request.POST, drafts=_drafts(request))
        if form.is_valid():
            table.check(undecided=form.cleaned_data["rest"])
            if all(row.meaning() is None for row in draft.rows):
                form.add_error(None, "Every label is left out: there is nothing to put in.")
        else:
            table.check(undecided=bool(request.POST.get("rest")))
        if not table.errors and form.is_valid():
            data = form.cleaned_data
            try:
                number = put_into_change_set(
                    draft=draft, number=None if data["into"] == "new" else int(data["into"]),
                    title=data["title"], reason=data["reason"], author=_person(request),
                )  # fmt: skip
            except ChangeError as error:
                form.add_error(None, str(error))
            else:
                many = sum(row.meaning() is not None for row in draft.rows)
                messages.success(request, f"{many} labels of {draft.detector} are in it.")
                return self._to(request, ChangeSet.objects.get(number=number))
        return self._table_page(request, table, form)

    def _table_page(self, request: HttpRequest, table: Table, form: TargetForm) -> HttpResponse:
        draft = table.draft
        return self.page(request, "mapping/onboarding/labels.html", {
            "title": f"{'Add a detector' if draft.head else 'Add labels'}: {draft.detector}",
            "draft": draft, "table": table, "rows": table.rows(), "form": form,
            "proposals": table.proposals,
            "all_options": table.all_options(), "counts": table.counts(),
            "page_numbers": range(1, table.pages + 1), "page_rows": PAGE_ROWS,
            "state": draft.signed(), "action": reverse(_SECOND), "back": reverse(_FIRST),
            "input_classes": " ".join(INPUT_CLASSES), "select_classes": " ".join(SELECT_CLASSES),
        })  # fmt: skip

    def _target(
        self, request: HttpRequest, draft: Draft, into: str = "", given: Any = None
    ) -> TargetForm:
        """The form of the change set, as the person left it."""
        what = "detector" if draft.head else "labels of"
        initial = {
            "into": into if into.isdecimal() else "new",
            "title": f"Add {what} {draft.detector}",
            "reason": f"Labels as in: {draft.source}" if draft.source else "",
        }
        if given is not None:
            initial = {name: given.get(name, "") for name in ("into", "title", "reason", "rest")}
        return TargetForm(initial=initial, drafts=_drafts(request))

    def _allowed(self, request: HttpRequest) -> None:
        if not self.has_add_permission(request):
            raise PermissionDenied


class OnboardingDetectorAdmin(DetectorMapAdmin):
    """Detectors, with the way to a new one and to further labels."""

    actions_list = ("onboard",)
    actions_detail = ("add_labels",)

    def has_onboard_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether the person may write change sets."""
        return bool(request.user.has_perm("changes.add_changeset"))

    @action(description="Add a detector", permissions=["onboard"], url_path="onboard", icon="add")
    def onboard(self, request: HttpRequest) -> HttpResponse:
        """Go to the first page."""
        return HttpResponseRedirect(reverse(_FIRST))

    @action(
        description="Add labels", permissions=["onboard"], url_path="add-labels", icon="new_label"
    )
    def add_labels(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go to the first page, which names the detector."""
        detector: DetectorMap = self.wanted(request, object_id)
        query = urlencode({"detector": detector.detector})
        return HttpResponseRedirect(f"{reverse(_FIRST)}?{query}")


def _person(request: HttpRequest) -> User:
    """Who is logged in; the site lets nobody else in."""
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


def _drafts(request: HttpRequest) -> list[tuple[str, str]]:
    """The person's drafts, to choose one."""
    drafts: QuerySet[ChangeSet] = drafts_for(_person(request))
    return [(str(one.number), f"#{one.number} {one.title}") for one in drafts]


def _page(text: str, pages: int, default: int = 1) -> int:
    """A number of a page that exists."""
    known = text.isascii() and text.isdecimal() and len(text) < 6
    return min(max(int(text), 1), pages) if known else default


def register(site: AdminSite) -> None:
    """Put the pages on a site that has change sets and detectors."""
    site.unregister([ChangeSet, DetectorMap])
    site.register(ChangeSet, OnboardingChangeSetAdmin)
    site.register(DetectorMap, OnboardingDetectorAdmin)

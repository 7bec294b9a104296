"""Change sets in the platform's admin: the work list, the page of one, and the forms."""

import re
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from access.users.models import User
from pillars.admin import PillarsAdmin
from pillars.badges import state_badge
from taxonomy.changes import impact, services
from taxonomy.changes.errors import ChangeError
from taxonomy.changes.forms import FORMS, CommentForm, DescribeForm, EditForm, StartForm, StepForm
from taxonomy.changes.models import ChangeSet
from taxonomy.changes.page import page_of
from taxonomy.changes.selectors import drafts_for, waiting_for, wrote_in
from taxonomy.changes.verbs import STEPS, Step
from taxonomy.documents import canonical
from taxonomy.errors import NoReleaseError
from taxonomy.objects import ObjectKey, ObjectKind, objects
from taxonomy.selectors import KnowledgeDocuments, current_documents

_NEW = {"label": "Add a label", "detector_label": "Add a rule", "crosswalk_row": "Add a control"}


class WorkFilter(admin.SimpleListFilter):
    """What the person has to do."""

    title = "work"
    parameter_name = "work"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("mine", "Waiting for me"), ("author", "Written by me")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ChangeSet]) -> QuerySet[ChangeSet]:
        match self.value():
            case "mine":
                return queryset.filter(pk__in=waiting_for(_person(request)).values("pk"))
            case "author":
                return queryset.filter(author=_person(request))
        return queryset


class ChangeSetAdmin(PillarsAdmin):
    """Drafts, reviews and publications."""

    list_display = ("title_shown", "state_shown", "author", "edits_shown", "effective_shown")
    list_filter = (WorkFilter, "state")
    list_select_related = ("author",)
    search_fields = ("title", "reason", "edits__name", "edits__document")
    sortable_by = ()
    list_per_page = 50
    show_add_link = False  # a button with words says it better
    actions_list: tuple[str, ...] = ("begin",)
    change_form_template = "changes/changeset.html"
    fields = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Start a draft."""
        return self.may(request, "add")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChangeSet]:
        return super().get_queryset(request).annotate(edit_count=Count("edits", distinct=True))

    @display(description="Change set")
    def title_shown(self, change_set: ChangeSet) -> str:
        """Its number and title."""
        return f"#{change_set.number} {change_set.title}"

    @display(description="State")
    def state_shown(self, change_set: ChangeSet) -> SafeString:
        """As a badge."""
        return state_badge(change_set.state, change_set.get_state_display())

    @display(description="Edits")
    def edits_shown(self, change_set: Any) -> str:
        """How many."""
        return str(change_set.edit_count)

    @display(description="Published at (UTC)")
    def effective_shown(self, change_set: ChangeSet) -> str:
        """If it is for a time."""
        at = change_set.effective_at
        return f"{at:%Y-%m-%d %H:%M}" if at else "when somebody publishes it"

    def get_urls(self) -> list[URLPattern]:
        """With the pages of steps and edits."""

        def named(route: str, view: Any, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"changes_changeset_{name}")

        steps = [
            named(f"<int:object_id>/{name}/", self._step_view(step), name)
            for name, step in STEPS.items()
        ]
        return [
            named("propose/", self.propose_view, "propose"),
            *steps,
            named("<int:object_id>/describe/", self.describe_view, "describe"),
            named("<int:object_id>/comment/", self.comment_view, "comment"),
            named("<int:object_id>/impact/", self.impact_view, "impact"),
            named("<int:object_id>/manifest/", self.manifest_view, "manifest"),
            named("<int:object_id>/edit/", self.edit_view, "edit"),
            named("<int:object_id>/drop/", self.drop_view, "drop"),
            *super().get_urls(),
        ]

    @action(
        description="Start change set", permissions=["add"], url_path="begin", icon="add",
        variant=ActionVariant.PRIMARY,
    )  # fmt: skip
    def begin(self, request: HttpRequest) -> HttpResponse:
        """Go to the form."""
        return HttpResponseRedirect(reverse("admin:changes_changeset_add"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Start a draft; then go on to the edit that the person came for, if any."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = StartForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            made = services.start(**form.cleaned_data, author=_person(request))
            wanted = _key(request)
            return self._to_edit(made, wanted) if wanted else self._to(request, made)
        return self.form_page(
            request, form=form, title="Start change set", submit="Start change set",
            intro="A draft that you fill with edits, and submit when it is ready. Other people "
            "approve it.",
        )  # fmt: skip

    def propose_view(self, request: HttpRequest) -> HttpResponse:
        """From a thing in the knowledge: to one of one's drafts, or to a new one."""
        wanted = _key(request)
        if wanted is None:
            raise Http404
        if not self.has_add_permission(request):
            raise PermissionDenied
        drafts = drafts_for(_person(request))
        context = {
            "title": f"Propose a change: {wanted}",
            "drafts": drafts.annotate(edit_count=Count("edits")),
            "query": query_of(wanted),
        }
        return self.page(request, "changes/propose.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one change set."""
        change_set: ChangeSet = self.wanted(request, object_id)
        shown = page_of(change_set)
        extra = {
            **shown,
            "title": f"#{change_set.number} {change_set.title}",
            "steps": self._steps(request, change_set, stale=bool(shown["stale"])),
            "may_edit": change_set.is_draft and self.may(request, "change"),
            "additions": _NEW,
            "comment_form": CommentForm(auto_id="comment_%s"),
            "state_badge": self.state_shown(change_set),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def _steps(
        self, request: HttpRequest, change_set: ChangeSet, *, stale: bool
    ) -> list[dict[str, Any]]:
        """The steps that the person may take now, as links that carry what they saw."""
        found = []
        for step in STEPS.values():
            if change_set.state not in step.states or not self._may_take(request, step):
                continue
            if step.name == "refresh" and not stale:
                continue
            if step.for_others and wrote_in(change_set, _person(request)):
                continue
            address = reverse(f"admin:changes_changeset_{step.name}", args=[change_set.number])
            found.append({"step": step, "href": f"{address}?revision={change_set.revision}"})
        return found

    def _may_take(self, request: HttpRequest, step: Step) -> bool:
        return any(self.may(request, permission) for permission in step.permissions)

    def _step_view(self, step: Step) -> Any:
        def view(request: HttpRequest, object_id: int) -> HttpResponse:
            if not self._may_take(request, step):
                raise PermissionDenied
            change_set: ChangeSet = self.wanted(request, str(object_id))
            seen = request.GET.get("revision", "")
            revision = int(seen) if re.fullmatch(r"[0-9]{1,9}", seen) else change_set.revision
            form = step.form(request.POST or None, initial={"revision": revision})

            def run() -> None:
                step.run(change_set.number, form.cleaned_data, _person(request))

            return self._form_view(request, change_set, form, step.title, step.intro, run,
                                   done=step.done, danger=step.danger)  # fmt: skip

        return view

    def _form_view(
        self, request: HttpRequest, change_set: ChangeSet, form: Form, title: str, intro: str,
        run: Any, *, done: str, submit: str | None = None, danger: bool = False,
    ) -> HttpResponse:  # fmt: skip
        """GET shows the form, POST does; what the service refuses is said above the form."""
        if request.method == "POST" and form.is_valid():
            try:
                run()
            except (ChangeError, NoReleaseError) as error:
                for line in str(error).splitlines()[:20]:
                    form.add_error(None, line)
            else:
                messages.success(request, f"#{change_set.number} {change_set.title}: {done}")
                return self._to(request, change_set)
        return self.form_page(
            request, form=form, title=f"{title}: #{change_set.number} {change_set.title}",
            submit=submit or title, intro=intro, danger=danger, obj=change_set,
        )  # fmt: skip

    def describe_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Title, reason and time of a draft."""
        change_set = self._editable(request, object_id)
        form = DescribeForm(
            request.POST or None,
            initial={
                name: getattr(change_set, name)
                for name in ("title", "reason", "effective_at", "revision")
            },
        )

        def run() -> None:
            services.describe(
                number=change_set.number,
                editor=_person(request),
                **form.cleaned_data,
            )

        return self._form_view(
            request, change_set, form, "Describe", "", run, done="saved.", submit="Save"
        )

    def comment_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Say something."""
        change_set: ChangeSet = self.wanted(request, str(object_id))
        form = CommentForm(request.POST or None)

        def run() -> None:
            services.comment(
                number=change_set.number,
                text=form.cleaned_data["text"],
                person=_person(request),
            )

        return self._form_view(request, change_set, form, "Comment", "", run, done="comment added.")

    def impact_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Have the impact counted again."""
        change_set: ChangeSet = self.wanted(request, str(object_id))
        if request.method == "POST":
            impact.ask_for_impact(number=change_set.number)
            messages.info(request, "A worker is counting. Look again in a moment.")
        return self._to(request, change_set)

    def manifest_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """The manifest of its latest publication, as it was digested (canonical JSON)."""
        change_set: ChangeSet = self.wanted(request, str(object_id))
        publication = change_set.publications.first()
        if publication is None:
            raise Http404
        name = f"release-{publication.release.serial}-manifest.json"
        return HttpResponse(
            canonical(publication.manifest),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """One edit: of a thing in force, of one in the draft, or of a new one."""
        change_set = self._editable(request, object_id)
        key, kind = _key(request), request.GET.get("kind", "")
        if kind not in FORMS:
            raise Http404
        try:
            documents = current_documents()
        except NoReleaseError as error:
            messages.error(request, str(error))
            return self._to(request, change_set)
        value = _value(change_set, key, documents)
        form = FORMS[ObjectKind(kind)](
            request.POST or None, documents=documents, key=key, value=value,
            revision=change_set.revision,
        )  # fmt: skip

        def run() -> None:
            named, after = form.result()
            services.edit(
                number=change_set.number, key=named, after=after, editor=_person(request),
                revision=form.cleaned_data.get("revision"),
            )  # fmt: skip

        title = str(key) if key else _NEW[kind]
        return self._form_view(
            request, change_set, form, title, _intro(form, key), run, done=f"{title} is in it.",
            submit="Put into the change set",
        )  # fmt: skip

    def drop_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Take an edit out."""
        change_set = self._editable(request, object_id)
        try:
            edit = change_set.edits.filter(pk=UUID(request.GET.get("edit", ""))).first()
        except ValueError:
            edit = None
        if edit is None:
            raise Http404
        form = StepForm(request.POST or None, initial={"revision": change_set.revision})

        def run() -> None:
            services.drop_edit(
                number=change_set.number, edit_id=edit.pk, editor=_person(request),
                revision=form.cleaned_data["revision"],
            )  # fmt: skip

        return self._form_view(
            request, change_set, form, f"Take out {edit}", "It stays as it is in force.", run,
            done=f"{edit} is no longer in it.", submit="Take out",
        )  # fmt: skip

    def _editable(self, request: HttpRequest, object_id: int) -> ChangeSet:
        if not self.may(request, "change"):
            raise PermissionDenied
        change_set: ChangeSet = self.wanted(request, str(object_id))
        return change_set

    def _to(self, request: HttpRequest, change_set: ChangeSet) -> HttpResponseRedirect:
        return HttpResponseRedirect(self.address(request, change_set))

    def _to_edit(self, change_set: ChangeSet, key: ObjectKey) -> HttpResponseRedirect:
        address = reverse("admin:changes_changeset_edit", args=[change_set.number])
        return HttpResponseRedirect(f"{address}?{query_of(key)}")


def _person(request: HttpRequest) -> User:
    """Who is logged in; the site lets nobody else in."""
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


def _key(request: HttpRequest) -> ObjectKey | None:
    """The thing that an address names; None for a new one, or an address that names nothing."""
    kind, name = request.GET.get("kind", ""), request.GET.get("name", "")
    if kind not in FORMS or not name:
        return None
    return ObjectKey(ObjectKind(kind), request.GET.get("document", ""), name)


def query_of(key: ObjectKey) -> str:
    """The part of an address that names a thing."""
    return urlencode({"kind": key.kind.value, "document": key.document, "name": key.name})


def _value(
    change_set: ChangeSet, key: ObjectKey | None, documents: KnowledgeDocuments
) -> dict[str, Any] | None:
    """What the form starts from: the draft's own version of the thing, else the one in force."""
    if key is None:
        return None
    edit = change_set.edits.filter(kind=key.kind, document=key.document, name=key.name).first()
    in_force = objects(documents).get(key)
    if edit is None and in_force is None:
        raise Http404
    return edit.after if edit and edit.after is not None else in_force


def _intro(form: EditForm, key: ObjectKey | None) -> str:
    if key is None:
        return "It is new with this change set."
    return f"This changes {key} when the change set is published."


def register(site: AdminSite) -> None:
    """Add this app's pages to the platform's site."""
    site.register(ChangeSet, ChangeSetAdmin)

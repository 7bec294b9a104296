"""Training runs in the platform's admin: the list, one run as it goes on, start, cancel, resume."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from pillars.admin import PillarsAdmin, actor
from pillars.badges import state_badge
from training.runs import folders, services
from training.runs.errors import RunError
from training.runs.forms import ConfirmForm, StartForm
from training.runs.models import TrainingRun
from training.runs.page import evaluations, overview, snapshot
from training.runs.showing import progress


class TrainingRunAdmin(PillarsAdmin):
    """Runs are started, cancelled and resumed, never edited."""

    list_display = (
        "name_shown", "state_shown", "profile", "data_shown", "progress_shown", "best_shown",
        "by_shown", "asked_shown",
    )  # fmt: skip
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("profile", "data_set", "data_set_name")
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 25
    list_before_template = "runs/overview.html"
    list_empty_template = "runs/empty.html"
    show_add_link = False  # a button with words says it better
    actions_list = ("start",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Start a run."""
        return self.may(request, "add")

    @display(description="Run")
    def name_shown(self, run: TrainingRun) -> str:
        """By the end of its id."""
        return run.short

    @display(description="State")
    def state_shown(self, run: TrainingRun) -> SafeString:
        """As a badge."""
        return state_badge(run.state, run.get_state_display())

    @display(description="Data set")
    def data_shown(self, run: TrainingRun) -> str:
        """Name and beginning of the digest."""
        return f"{run.data_set_name} {run.data_set[:8]}"

    @display(description="Progress")
    def progress_shown(self, run: TrainingRun) -> SafeString:
        """In words, with a bar."""
        return format_html(
            '<span class="pl-nowrap">{}</span>'
            '<span class="pl-bar" aria-hidden="true"><span style="width: {}%"></span></span>',
            progress(run), run.percent,
        )  # fmt: skip

    @display(description="Best held out", empty_value="-")
    def best_shown(self, run: TrainingRun) -> str | None:
        """Accuracy."""
        return None if run.best_accuracy is None else f"{run.best_accuracy:.1%}"

    @display(description="By")
    def by_shown(self, run: TrainingRun) -> str:
        """Who started it."""
        return run.started_by.removeprefix("user:")

    @display(description="Asked for (UTC)")
    def asked_shown(self, run: TrainingRun) -> str:
        """To the minute."""
        return f"{run.created_at:%Y-%m-%d %H:%M}"

    def get_urls(self) -> list[URLPattern]:
        """With what the page asks for, and the two verbs."""
        view, name = self.admin_site.admin_view, "runs_trainingrun"
        return [
            path("<uuid:object_id>/data/", view(self.data_view), name=f"{name}_data"),
            path("<uuid:object_id>/cancel/", view(self.cancel_view), name=f"{name}_cancel"),
            path("<uuid:object_id>/resume/", view(self.resume_view), name=f"{name}_resume"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What goes on now, and all runs."""
        extra: dict[str, Any] = dict(extra_context or {})
        if self.may(request, "view"):
            extra |= {"runs": overview()}
        return super().changelist_view(request, extra)

    @action(
        description="Start a run", permissions=["add"], url_path="start", icon="add",
        variant=ActionVariant.PRIMARY,
    )  # fmt: skip
    def start(self, request: HttpRequest) -> HttpResponse:
        """Go to the form."""
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:runs_trainingrun_add"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Start a run."""
        if not self.may(request, "add"):
            raise PermissionDenied
        form = StartForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            run = _started(form, request)
            if run is not None:
                messages.success(request, f"{run} waits for a worker.")
                return HttpResponseRedirect(self.address(request, run))
        if not form.fields["data_set"].choices:  # type: ignore[attr-defined]
            return self.page(request, "runs/no_data.html", {
                "title": "Start a training run", "folder": folders.folder_of_data_sets(),
                "back": self.address(request),
            })  # fmt: skip
        return self.form_page(
            request, form=form, title="Start a training run", submit="Start the run",
            intro="A worker trains an adapter on a machine that has nothing else to train. Its "
            "curves and its log are shown while it goes on. Nothing changes for any tenant: a "
            "version of a model is made of it, approved and promoted later.",
            facts={"Base model": folders.base_model()},
        )  # fmt: skip

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One run, which the page follows."""
        if not self.may(request, "view"):
            raise PermissionDenied
        run: TrainingRun = self.wanted(request, object_id)
        return self.page(request, "runs/run.html", {
            "title": str(run), "run": run, "badge": self.state_shown(run),
            "shown": snapshot(run), "evaluations": evaluations(run),
            "overrides": [f"{key}={value}" for key, value in run.overrides.items()],
            "folder": folders.folder_of_run(run.id), "may_stop": self.may(request, "change"),
            "may_resume": self.may(request, "add"), "back": self.address(request),
        })  # fmt: skip

    def data_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """What is new since `after` (a point) and `line`, as JSON."""
        if not self.may(request, "view"):
            raise PermissionDenied
        run: TrainingRun = self.wanted(request, str(object_id))
        found = snapshot(run, after=_cursor(request, "after"), line=_cursor(request, "line"))
        return JsonResponse(found)  # never kept by a browser: Django says so for all pages here

    def cancel_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Stop it."""
        return self._act(
            request, str(object_id), "change", services.request_cancel,
            title="Cancel {}", submit="Cancel the run", danger=True, done="It stops.",
            intro="It finishes its step, saves a checkpoint and stops. Resume goes on from there.",
        )  # fmt: skip

    def resume_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Go on with it."""
        return self._act(
            request, str(object_id), "add", services.resume_run,
            title="Resume {}", submit="Resume the run", done="It waits for a worker.",
            intro="It goes on from its last checkpoint, with the same profile and data set.",
        )  # fmt: skip

    def _act(
        self, request: HttpRequest, object_id: str, verb: str, act: Callable[..., TrainingRun], *,
        title: str, submit: str, intro: str, done: str, danger: bool = False,
    ) -> HttpResponse:  # fmt: skip
        """GET asks, POST does; what the service refuses stands above the form."""
        if not self.may(request, verb) or not self.may(request, "view"):
            raise PermissionDenied
        run: TrainingRun = self.wanted(request, object_id)
        form = ConfirmForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                act(run_id=run.pk, actor=actor(request))
            except RunError as error:
                form.add_error(None, error.message)
            else:
                messages.success(request, done)
                return HttpResponseRedirect(self.address(request, run))
        return self.form_page(
            request, form=form, title=title.format(run), submit=submit, intro=intro,
            danger=danger, obj=run,
            facts={
                "State": run.get_state_display(), "Profile": run.profile,
                "Data set": self.data_shown(run), "Progress": progress(run),
            },
        )  # fmt: skip


def _started(form: StartForm, request: HttpRequest) -> TrainingRun | None:
    try:
        return services.start_run(**form.cleaned_data, actor=actor(request))
    except RunError as error:
        form.add_error(error.field or None, error.message)
    return None


def _cursor(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    # The database's own integers end there.
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def register(site: AdminSite) -> None:
    """Put the pages on the platform's site."""
    site.register(TrainingRun, TrainingRunAdmin)

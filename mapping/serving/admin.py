"""The page "Served model" of the platform's admin: what is in force, the history, the comparison.

It changes nothing: versions are promoted from the registry, and `manage.py trial` begins trials.
"""

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from unfold.decorators import display

from mapping.serving.comparison import SCAN_LIMIT, Comparison, compare
from mapping.serving.in_force import live_name, read_serving
from mapping.serving.models import ServingChoice, ServingKind
from mapping.serving.significance import Outcome
from pillars.admin import PillarsAdmin
from pillars.badges import badge

_TONES = {
    ServingKind.PROMOTED: "good",
    ServingKind.ROLLED_BACK: "bad",
    ServingKind.TRIAL_STARTED: "accent",
    ServingKind.TRIAL_CHANGED: "accent",
    ServingKind.TRIAL_ENDED: "wait",
}
_OF_FILE = "as pillars.yaml says"


class ServingChoiceAdmin(PillarsAdmin):
    """The choices made so far; above them what is in force."""

    list_display = ("made", "kind_shown", "live_shown", "trial_shown", "made_by_shown", "reason")
    ordering = ("-number",)
    sortable_by = ()
    list_per_page = 25
    list_before_template = "serving/in_force.html"
    list_empty_template = "serving/empty.html"

    @display(description="When (UTC)")
    def made(self, choice: ServingChoice) -> str:
        """To the second: in an incident that counts."""
        return f"{choice.made_at:%Y-%m-%d %H:%M:%S}"

    @display(description="What")
    def kind_shown(self, choice: ServingChoice) -> SafeString:
        """As a badge."""
        return badge(choice.get_kind_display(), _TONES[ServingKind(choice.kind)])

    @display(description="Live from then on")
    def live_shown(self, choice: ServingChoice) -> str:
        """The version, or that pillars.yaml is followed."""
        return str(choice.live["version"]) if choice.live else _OF_FILE

    @display(description="On trial")
    def trial_shown(self, choice: ServingChoice) -> str:
        """The version and whom it answers."""
        if not choice.trial:
            return "-"
        parts = [f"{len(choice.trial_tenants)} tenants"] if choice.trial_tenants else []
        parts += [f"{choice.trial_share:.0%} of labels"] if choice.trial_share else []
        parts += ["shadow"] if choice.shadow else []
        return f"{choice.trial['version']}: {', '.join(parts)}"

    @display(description="By")
    def made_by_shown(self, choice: ServingChoice) -> str:
        """Who."""
        return choice.made_by.removeprefix("user:")

    def get_urls(self) -> list[URLPattern]:
        """The comparison, before the pages of the rows."""
        view = self.admin_site.admin_view(self.compare_view)
        return [
            path("compare/", view, name="serving_servingchoice_compare"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What is in force, and the history."""
        extra: dict[str, Any] = {"title": "Served model", **(extra_context or {})}
        if self.may(request, "view"):
            serving = read_serving()
            extra |= {
                "serving": serving,
                "live": live_name(serving),
                "by": (serving.by or "").removeprefix("user:"),
                "share": f"{serving.trial_share:.0%}",
            }
        return super().changelist_view(request, extra)

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Live against trial, counted now."""
        if not self.may(request, "view"):
            raise PermissionDenied
        found = compare()
        context = {
            "title": "Live against trial",
            "found": found,
            "rows": _rows(found) if found else [],
            "pairs": _pairs(found) if found else [],
            "limit": f"{SCAN_LIMIT:,}",
            "back": self.address(request),
        }
        return self.page(request, "serving/compare.html", context)


def _rows(found: Comparison) -> list[dict[str, str]]:
    tests = found.tests()
    live, trial = found.live, found.trial
    shares = (
        ("Answered with a label", "accepted", "labels", tests["accepted"]),
        ("Left unknown", "fallback", "labels", tests["fallback"]),
        ("Right, as people decided later", "right", "decided", tests["right"]),
    )
    return [
        {"name": "Questions", "live": f"{live.questions:,}", "trial": f"{trial.questions:,}"},
        {"name": "Labels", "live": f"{live.labels:,}", "trial": f"{trial.labels:,}"},
        *(
            {
                "name": name,
                "live": _share(getattr(live, part), getattr(live, whole)),
                "trial": _share(getattr(trial, part), getattr(trial, whole)),
                "test": _said(test),
            }
            for name, part, whole, test in shares
        ),
    ]


def _pairs(found: Comparison) -> list[dict[str, str]]:
    pairs = found.pairs
    if not pairs.labels:
        return []
    return [
        {"name": "Labels that both were asked for", "value": f"{pairs.labels:,}"},
        {"name": "With the same answer", "value": _share(pairs.agreed, pairs.labels)},
        {"name": "Decided later by a person", "value": f"{pairs.decided:,}"},
        {"name": "Of them: the live version alone was right", "value": f"{pairs.only_live:,}"},
        {
            "name": "The trial's version alone was right",
            "value": f"{pairs.only_trial:,}",
            "test": _said(pairs.test),
        },
    ]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "none yet"


def _said(test: Outcome | None) -> str:
    if test is None:
        return "nothing to compare yet"
    verdict = "a difference" if test.p < 0.05 else "no difference that chance does not explain"
    return f"{test.test}: p = {test.p:.3g}, {verdict}"


def register(site: AdminSite) -> None:
    """Add this app's pages to an admin site."""
    site.register(ServingChoice, ServingChoiceAdmin)

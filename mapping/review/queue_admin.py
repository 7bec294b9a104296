"""The page "Review queue" of a tenant's admin: labels that wait, and the page of one or several.

Everything works without JavaScript; pillars/review.js adds keys and the search of labels.
"""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display
from unfold.widgets import INPUT_CLASSES

from mapping.models import ReviewItem, ReviewReason, ReviewState
from mapping.review import selectors, services
from mapping.review.choices import choices_for
from mapping.review.services import MOST_ITEMS, MOST_LABELS, ReviewError
from pillars.admin import PillarsAdmin, actor
from pillars.badges import badge, state_badge

_TEXT = "a text, kept as hash"
_HISTORY = 10  # decisions shown on an item's page


class QueueState(DropdownFilter):
    """Open items unless something else is chosen."""

    title = "state"
    parameter_name = "state"
    all_option = ["", "Open"]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Value and title."""
        others = (ReviewState.DECIDED, ReviewState.DISMISSED)
        return [*((str(one.value), str(one.label)) for one in others), ("all", "All")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ReviewItem]
    ) -> QuerySet[ReviewItem]:
        """Items in that state."""
        wanted = self.value() or ReviewState.OPEN
        return queryset if wanted == "all" else queryset.filter(state=wanted)


class QueueDetector(DropdownFilter):
    """The detectors that the queue holds labels of."""

    title = "detector"
    parameter_name = "detector"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Names."""
        names = selectors.items().order_by("detector").values_list("detector", flat=True)
        return [(name, name) for name in names.distinct()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ReviewItem]
    ) -> QuerySet[ReviewItem]:
        """Items of one detector."""
        return queryset.filter(detector=self.value()) if self.value() else queryset


class QueueReason(DropdownFilter):
    """Why a person is asked."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Value and title."""
        return [(str(one.value), str(one.label)) for one in ReviewReason]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ReviewItem]
    ) -> QuerySet[ReviewItem]:
        """Items with that reason."""
        return queryset.filter(reason=self.value()) if self.value() else queryset


class DecideForm(forms.Form):
    """What the labels mean. The service says which canonical labels there are."""

    item = forms.TypedMultipleChoiceField(coerce=str)
    canonical = forms.TypedMultipleChoiceField(coerce=str, required=False)
    not_a_finding = forms.BooleanField(required=False)
    this_version = forms.BooleanField(required=False)
    replaces = forms.IntegerField(required=False)
    note = forms.CharField(
        max_length=300,
        required=False,
        widget=forms.TextInput(attrs={"class": " ".join(INPUT_CLASSES)}),
        help_text="Why. It stays in the history; write nothing personal here",
    )

    def __init__(self, data: Any, items: list[ReviewItem]) -> None:
        super().__init__(data)
        self.fields["item"].choices = [(str(i.pk), "") for i in items]  # type: ignore[attr-defined]
        sent = [name[:100] for name in data.getlist("canonical")][: MOST_LABELS + 1] if data else []
        self.fields["canonical"].choices = [(n, n) for n in sent]  # type: ignore[attr-defined]


class ReviewItemAdmin(PillarsAdmin):
    """Labels that no rule maps or that a model is unsure of, by events times uncertainty."""

    list_display = (
        "label_shown", "detector_shown", "reason_shown", "events_shown", "confidence_shown",
        "last_seen_shown", "state_shown",
    )  # fmt: skip
    list_display_links = ("label_shown",)
    list_filter = (QueueState, QueueDetector, QueueReason)
    search_fields = ("label", "detector")
    search_help_text = "The detector's label, or the detector"
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 0
    actions = ("decide_chosen", "dismiss_chosen", "reopen_chosen")
    list_before_template = "mapping/review/queue.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewItem]:
        return selectors.items()

    @display(description="Detector's label")
    def label_shown(self, item: ReviewItem) -> SafeString:
        """As it came, or that its hash alone is kept."""
        if item.label:
            return format_html('<span class="pl-mono">{}</span>', item.label)
        return format_html('{} <span class="pl-mono">{}</span>', _TEXT, item.digest[:8])

    @display(description="Detector")
    def detector_shown(self, item: ReviewItem) -> str:
        """With its version."""
        return " ".join(filter(None, (item.detector, _version(item))))

    @display(description="Reason")
    def reason_shown(self, item: ReviewItem) -> SafeString:
        """As a badge."""
        return badge(item.get_reason_display(), "wait")

    @display(description="Events")
    def events_shown(self, item: ReviewItem) -> str:
        """How many came."""
        return f"{item.events:,}"

    @display(description="Confidence")
    def confidence_shown(self, item: ReviewItem) -> str:
        """Of the last one."""
        return f"{item.last_confidence:.2f}"

    @display(description="Last seen (UTC)")
    def last_seen_shown(self, item: ReviewItem) -> SafeString:
        """To the minute."""
        moment = f"{item.last_seen:%Y-%m-%d %H:%M}"
        return format_html('<span class="pl-nowrap">{}</span>', moment)

    @display(description="State")
    def state_shown(self, item: ReviewItem) -> SafeString:
        """As a badge."""
        return state_badge(item.state, item.get_state_display())

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Whether the person may decide what labels mean for the tenant."""
        return bool(request.user.has_perm("mapping.add_labeldecision"))

    def has_sort_out_permission(self, request: HttpRequest) -> bool:
        """Whether the person may dismiss and reopen items."""
        return self.may(request, "change")

    def get_urls(self) -> list[URLPattern]:
        """With the steps."""
        view, name = self.admin_site.admin_view, "mapping_reviewitem"
        return [
            path("decide/", view(self.decide_view), name=f"{name}_decide"),
            path("<uuid:object_id>/dismiss/", view(self.dismiss_view), name=f"{name}_dismiss"),
            path("<uuid:object_id>/reopen/", view(self.reopen_view), name=f"{name}_reopen"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The queue, with what came beyond its limits."""
        extra: dict[str, Any] = {"title": "Review queue", **(extra_context or {})}
        if self.may(request, "view"):
            extra["beyond"] = selectors.overflow().aggregate(sum=Sum("events"))["sum"]
            extra["may_decide"] = self.has_decide_permission(request)
        return super().changelist_view(request, extra)

    @admin.action(description="Decide for the chosen labels", permissions=["decide"])
    def decide_chosen(self, request: HttpRequest, queryset: QuerySet[ReviewItem]) -> HttpResponse:
        """Go to the page that decides for all of them."""
        chosen = [str(pk) for pk in queryset.values_list("pk", flat=True)[:MOST_ITEMS]]
        query = urlencode({"item": chosen, **_carried(request.GET.urlencode())}, doseq=True)
        return HttpResponseRedirect(f"{reverse('admin:mapping_reviewitem_decide')}?{query}")

    @admin.action(description="Dismiss the chosen labels", permissions=["sort_out"])
    def dismiss_chosen(self, request: HttpRequest, queryset: QuerySet[ReviewItem]) -> None:
        """Put them aside."""
        self._sort_out(request, list(queryset[:MOST_ITEMS]), dismiss=True)

    @admin.action(description="Reopen the chosen labels", permissions=["sort_out"])
    def reopen_chosen(self, request: HttpRequest, queryset: QuerySet[ReviewItem]) -> None:
        """Put them back."""
        self._sort_out(request, list(queryset[:MOST_ITEMS]), dismiss=False)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One label, with the form that decides what it means."""
        if not self.may(request, "view"):
            raise PermissionDenied
        return self._item_page(request, [self.wanted(request, object_id)])

    def decide_view(self, request: HttpRequest) -> HttpResponse:
        """Decide for one label or several; after one comes the next of the queue."""
        if not self.has_decide_permission(request) or not self.may(request, "view"):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        items = self._chosen(given.getlist("item"))
        if not items:
            messages.error(request, "Choose labels of the queue first.")
            return HttpResponseRedirect(self.address(request))
        if request.method != "POST":
            return self._item_page(request, items)
        form = DecideForm(request.POST, items)
        if form.is_valid():
            data = form.cleaned_data
            try:
                made = services.decide(
                    items=[item.pk for item in items], canonical=data["canonical"],
                    not_a_finding=data["not_a_finding"], any_version=not data["this_version"],
                    replaces=data["replaces"], note=data["note"], actor=actor(request),
                )  # fmt: skip
            except ReviewError as error:
                form.add_error(None, str(error))
            else:
                named = items[0].label or _TEXT if len(items) == 1 else f"{len(items)} labels"
                messages.success(request, f"Saved: {named} → {made[0].meaning}.")
                return self._onwards(request, items[0])
        return self._item_page(request, items, form)

    def dismiss_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Put one label aside, and go to the next."""
        return self._step(request, str(object_id), dismiss=True)

    def reopen_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """Put one label back into the queue."""
        return self._step(request, str(object_id), dismiss=False)

    def _step(self, request: HttpRequest, object_id: str, *, dismiss: bool) -> HttpResponse:
        if not self.may(request, "change"):
            raise PermissionDenied
        item: ReviewItem = self.wanted(request, object_id)
        if request.method != "POST":
            return HttpResponseRedirect(self.address(request, item))
        done = self._sort_out(request, [item], dismiss=dismiss)
        if done and dismiss:
            return self._onwards(request, item)
        return HttpResponseRedirect(self._with_filters(request, self.address(request, item)))

    def _sort_out(self, request: HttpRequest, items: list[ReviewItem], *, dismiss: bool) -> bool:
        verb = services.dismiss if dismiss else services.reopen
        try:
            verb(items=[item.pk for item in items], actor=actor(request))
        except ReviewError as error:
            messages.error(request, str(error))
            return False
        named = items[0].label or _TEXT if len(items) == 1 else f"{len(items)} labels"
        messages.success(request, f"{'Dismissed' if dismiss else 'Reopened'}: {named}.")
        return True

    def _chosen(self, ids: list[str]) -> list[ReviewItem]:
        found = []
        for one in ids[:MOST_ITEMS]:
            try:
                found.append(selectors.items().get(pk=one))
            except (ReviewItem.DoesNotExist, ValueError, forms.ValidationError):
                continue
        return found

    def _item_page(
        self, request: HttpRequest, items: list[ReviewItem], form: DecideForm | None = None
    ) -> HttpResponse:
        item = items[0] if len(items) == 1 else None
        history = list(selectors.decisions_on(items[0])[:_HISTORY]) if item else []
        chosen = request.POST.getlist("canonical") if form else []
        context = {
            "title": str(items[0]) if item else f"Decide for {len(items)} labels",
            "item": item,
            "rows": [
                {"item": one, "version": _version(one), "state": self.state_shown(one),
                 "reason": self.reason_shown(one)}
                for one in items
            ],
            "choices": choices_for(items),
            "chosen": chosen,
            "form": form or DecideForm(None, items),
            "history": history,
            "replaces": history[0].number if history else 0,
            "may_decide": self.has_decide_permission(request),
            "may_sort_out": self.may(request, "change"),
            "own_version": item is not None and services.is_version(item),
            "filters": _filters(request),
            "back": self._with_filters(request, self.address(request)),
            **(self._neighbours(request, item) if item else {}),
        }  # fmt: skip
        return self.page(request, "mapping/review/item.html", context)

    def _neighbours(self, request: HttpRequest, item: ReviewItem) -> dict[str, str]:
        queue = _queue(request)
        found = {
            "next": selectors.next_item(queue, item),
            "previous": selectors.previous_item(queue, item),
        }
        return {
            name: self._with_filters(request, self.address(request, one))
            for name, one in found.items()
            if one is not None
        }

    def _onwards(self, request: HttpRequest, item: ReviewItem) -> HttpResponse:
        """The next open item under the filters of the list; the list where none is left."""
        following = selectors.next_item(_queue(request), item)
        return HttpResponseRedirect(self._with_filters(request, self.address(request, following)))

    def _with_filters(self, request: HttpRequest, address: str) -> str:
        kept = _filters(request)
        if not kept:
            return address
        if address == self.address(request):
            return f"{address}?{kept}"
        return f"{address}?{urlencode(_carried(kept))}"


_FILTERS = "_changelist_filters"  # as Django's lists name it in the links of their rows


def _carried(filters: str) -> dict[str, str]:
    return {_FILTERS: filters} if filters else {}


def _filters(request: HttpRequest) -> str:
    given = request.POST if request.method == "POST" else request.GET
    return str(given.get(_FILTERS, ""))[:500]


def _queue(request: HttpRequest) -> QuerySet[ReviewItem]:
    """The items that the list showed."""
    chosen = QueryDict(_filters(request))
    queue = selectors.items()
    for name in ("detector", "reason"):
        if chosen.get(name):
            queue = queue.filter(**{name: chosen[name]})
    return queue


def _version(item: ReviewItem) -> str:
    return (
        "a version kept as hash"
        if item.detector_version.startswith("hmac:")
        else (item.detector_version)
    )

"""The pages of the knowledge with a button that proposes a change: on the platform's site alone."""

from typing import Any

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action

from taxonomy.admin import CrosswalkRowAdmin, DetectorLabelAdmin, LabelAdmin, ReadOnlyAdmin
from taxonomy.changes.admin import query_of
from taxonomy.models import CrosswalkRow, DetectorLabel, Label
from taxonomy.objects import ObjectKey, ObjectKind, row_name


def key_of(row: Any) -> ObjectKey:
    """The thing that a row of the knowledge shows."""
    match row:
        case Label():
            return ObjectKey(ObjectKind.LABEL, "", row.name)
        case DetectorLabel():
            return ObjectKey(ObjectKind.DETECTOR_LABEL, row.detector_map.detector, row.label)
        case CrosswalkRow():
            name = row_name(row.label, row.control.code)
            return ObjectKey(ObjectKind.CROSSWALK_ROW, str(row.crosswalk.framework), name)
    raise TypeError(f"{row!r} cannot be proposed")


class Proposable(ReadOnlyAdmin):
    """With the button."""

    actions_detail = ("propose",)

    def has_propose_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether the person may write change sets."""
        return bool(request.user.has_perm("changes.add_changeset"))

    @action(
        description="Propose a change",
        permissions=["propose"],
        url_path="propose",
        icon="edit_note",
    )
    def propose(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go on to one of the person's drafts."""
        key = key_of(self.wanted(request, object_id))
        address = reverse("admin:changes_changeset_propose")
        return HttpResponseRedirect(f"{address}?{query_of(key)}")


class ProposableLabelAdmin(Proposable, LabelAdmin):
    """Canonical labels."""


class ProposableDetectorLabelAdmin(Proposable, DetectorLabelAdmin):
    """Rules of detectors."""


class ProposableCrosswalkRowAdmin(Proposable, CrosswalkRowAdmin):
    """Rows of crosswalks."""


_PAGES: dict[type[Model], type[Proposable]] = {
    Label: ProposableLabelAdmin,
    DetectorLabel: ProposableDetectorLabelAdmin,
    CrosswalkRow: ProposableCrosswalkRowAdmin,
}


def register(site: AdminSite) -> None:
    """Put the button on the pages of a site that has them."""
    for model, page in _PAGES.items():
        site.unregister(model)
        site.register(model, page)

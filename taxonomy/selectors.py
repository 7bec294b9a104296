"""Reads of the knowledge that other apps share."""

from typing import Any, NamedTuple

from django.db.models import Q

from taxonomy.errors import NoPlanError, NoReleaseError
from taxonomy.migration import MigrationPlan, Step, WayBack
from taxonomy.models import (
    CrosswalkRow,
    KnowledgeRelease,
    Label,
    MigrationPlanEdition,
    Relationship,
    TaxonomyEdition,
)
from taxonomy.validation import branches, edition_order


class KnowledgeDocuments(NamedTuple):
    """The files of a release, as plain JSON values."""

    serial: int
    taxonomy: dict[str, Any]
    detectors: list[dict[str, Any]]
    frameworks: list[dict[str, Any]]
    crosswalks: list[dict[str, Any]]


class LoadedPlan(NamedTuple):
    """A loaded migration plan. `sha256` tells its content from that of any other."""

    plan: MigrationPlan
    sha256: str


def current_serial() -> int | None:
    """Serial of the release in force; None if nothing was ever loaded."""
    return KnowledgeRelease.objects.values_list("serial", flat=True).first()


def current_release() -> KnowledgeRelease | None:
    """The release in force; None if nothing was ever loaded."""
    return KnowledgeRelease.objects.select_related("taxonomy").first()


def current_documents() -> KnowledgeDocuments:
    """The files of the release in force. Raises NoReleaseError if nothing was ever loaded."""
    serial = current_serial()
    if serial is None:
        raise NoReleaseError("No knowledge is loaded. Run `manage.py load_config`.")
    return documents_of(serial)


def documents_of(serial: int) -> KnowledgeDocuments:
    """The files of a release, present or past. Raises NoReleaseError if there is none."""
    release = KnowledgeRelease.objects.select_related("taxonomy").filter(serial=serial).first()
    if release is None:
        raise NoReleaseError(f"There is no release {serial} of the knowledge.")

    def documents(editions: Any) -> list[dict[str, Any]]:
        return list(editions.values_list("document", flat=True))

    return KnowledgeDocuments(
        serial=release.serial,
        taxonomy=release.taxonomy.document,
        detectors=documents(release.detectors),
        frameworks=documents(release.frameworks),
        crosswalks=documents(release.crosswalks),
    )


def controls_for(label: str, release: KnowledgeRelease) -> list[CrosswalkRow]:
    """The crosswalk rows that hold for a label in a release, in the order of their controls.

    Where the label and a branch above it name the same control, the nearer row holds.
    """
    line = branches(label)
    rows = CrosswalkRow.objects.filter(
        crosswalk__releasedcrosswalk__release=release, label__in=line
    ).select_related("control__edition")
    nearest: dict[tuple[str, str], CrosswalkRow] = {}
    for row in sorted(rows, key=lambda row: line.index(row.label)):
        nearest.setdefault((str(row.control.edition), row.control.code), row)
    found = [row for row in nearest.values() if row.relationship != Relationship.NOT_RELATED]
    return sorted(found, key=lambda row: (str(row.control.edition), row.control.position))


def loaded_plans() -> list[LoadedPlan]:
    """The highest version of each migration plan that was ever loaded."""
    rows = sorted(MigrationPlanEdition.objects.all(), key=lambda row: edition_order(row.version))
    newest = {(row.old, row.new): row for row in rows}
    return [_loaded(row) for row in newest.values()]


def loaded_plan(*, old: str, new: str, sha256: str | None = None) -> LoadedPlan:
    """The plan between two editions: its highest version, or the one with that content.

    Raises NoPlanError, which names the plans that there are.
    """
    if sha256 is not None:
        row = MigrationPlanEdition.objects.filter(old=old, new=new, sha256=sha256).first()
        found = None if row is None else _loaded(row)
    else:
        plans = loaded_plans()
        found = next((one for one in plans if (one.plan.old, one.plan.new) == (old, new)), None)
    if found is None:
        plans = loaded_plans()
        known = ", ".join(f"{one.plan.old} to {one.plan.new}" for one in plans) or "none"
        raise NoPlanError(
            f"No migration plan from {old} to {new} is loaded. Loaded: {known}. "
            "Put the plan into migrations/ and run `manage.py load_config`."
        )
    return found


def _loaded(row: MigrationPlanEdition) -> LoadedPlan:
    return LoadedPlan(MigrationPlan.from_document(row.document), row.sha256)


def plans_marker() -> int:
    """Changes when a plan is loaded: how many there are, since none is ever removed."""
    return MigrationPlanEdition.objects.count()


def labels_of(edition: str, *, further: bool = False) -> list[str]:
    """The labels of a loaded taxonomy edition, in their order; none if it is not loaded.

    `further` adds those of its further editions.
    """
    wanted = Q(edition__edition=edition)
    if further:
        wanted |= Q(edition__edition__startswith=f"{edition}.")
    labels = Label.objects.filter(wanted).order_by("edition__edition", "position")
    return list(dict.fromkeys(labels.values_list("name", flat=True)))


def is_edition(edition: str, base: str) -> bool:
    """Whether an edition is `base` or one of its further editions (2026.11.1 of 2026.11)."""
    return edition == base or edition.startswith(f"{base}.")


def _ways_within_the_month(edition: str) -> dict[str, WayBack]:
    """From a further edition (2026.11.2) to those before it (2026.11, 2026.11.1), by name."""
    month = ".".join(edition.split(".")[:2])
    loaded = TaxonomyEdition.objects.filter(edition__startswith=month)
    earlier = [
        one
        for one in loaded.values_list("edition", flat=True)
        if is_edition(one, month) and edition_order(one) < edition_order(edition)
    ]
    labels = labels_of(edition)
    found = {}
    for one in earlier:
        known = labels_of(one)
        kept = tuple(Step(label, "keep", into=label) for label in known if label in labels)
        plan = MigrationPlan(one, edition, "", kept)
        found[one] = plan.way_back(old=known, new=labels)
    return found


def ways_back(edition: str) -> dict[str, WayBack]:
    """For each earlier edition from which loaded plans lead here: the way back to it.

    Plans that follow each other make one way; the shortest one counts. Earlier editions of the same
    month need no plan: a change set made one of the other, and a name means the same in both.
    """
    plans = [loaded.plan for loaded in loaded_plans()]
    found = _ways_within_the_month(edition)
    waiting = [edition]
    while waiting:
        here = waiting.pop(0)
        for plan in plans:
            if not is_edition(here, plan.new) or plan.old in {edition, *found}:
                continue
            back = plan.way_back(old=labels_of(plan.old), new=labels_of(here))
            found[plan.old] = back if here == edition else found[here].then(back)
            waiting.append(plan.old)
    return found

"""Verbs of the review queue: decide what labels mean, take a decision back, dismiss, reopen."""

import uuid
from collections.abc import Iterable, Sequence

from django.db import connection, transaction

from audit.services import record
from mapping.engine import recordable_label
from mapping.engine.engine import UNRECORDABLE
from mapping.models import LabelDecision, ReviewItem, ReviewState
from mapping.review import selectors
from mapping.review.choices import NOT_TO_CHOOSE
from mapping.review.in_force import compiled_decisions, look_again
from mapping.selectors import release_in_force
from taxonomy.changes import suggesting
from taxonomy.changes.errors import ChangeError
from taxonomy.changes.models import Suggestion
from taxonomy.models import Label
from tenants.context import require_tenant

MOST_LABELS = 8  # canonical labels of one decision
MOST_ITEMS = 200  # items decided together


class ReviewError(ValueError):
    """Something that cannot be done. Its text says what to do."""


class NoItemError(ReviewError):
    """An item or decision is not there."""


@transaction.atomic
def decide(
    *,
    items: Sequence[uuid.UUID],
    canonical: Sequence[str],
    not_a_finding: bool = False,
    any_version: bool = True,
    replaces: int | None = None,
    note: str = "",
    actor: str,
) -> list[LabelDecision]:
    """Decide what the labels of items mean: from now on, for this tenant. All items or none.

    `canonical`: labels of the taxonomy in force; none with `not_a_finding`. `replaces`: number of
    the decision that the person saw, where the item was decided before (0: by another spelling of
    the label). Raises ReviewError.
    """
    number = locked()
    meaning, edition = _meaning(canonical, not_a_finding=not_a_finding)
    chosen = _items(items)
    for item in chosen:
        _refuse_decided(item, replaces)
    made: dict[tuple[str, str | None, str, str], LabelDecision] = {}
    for item in chosen:
        version = None if any_version or not is_version(item) else item.detector_version
        key = (item.detector, version, item.label, item.digest)
        if key in made:
            continue
        number += 1
        made[key] = LabelDecision.objects.create(
            number=number, detector=item.detector, detector_version=version,
            label=item.label or None, digest=item.digest or None, canonical=meaning,
            taxonomy=edition, note=note.strip()[:300], decided_by=actor[:200],
        )  # fmt: skip
        _record("label.decided", made[key], actor)
    dismissed = [item.pk for item in chosen if item.state == ReviewState.DISMISSED]
    ReviewItem.objects.filter(pk__in=dismissed).update(state=ReviewState.OPEN)
    settle({item.detector for item in chosen})
    return list(made.values())


@transaction.atomic
def withdraw(*, decision: uuid.UUID, note: str = "", actor: str) -> LabelDecision:
    """Take a decision back: the label is unknown again, and waits in the queue. ReviewError."""
    number = locked()
    row = LabelDecision.objects.filter(pk=decision).first()
    if row is None:
        raise NoItemError("There is no such decision. Choose one of the list.")
    if not selectors.in_force(row):
        raise ReviewError(
            "This decision is not in force any more: it was withdrawn, or a later one for the same "
            "label counts. Look at the newest in the list."
        )
    taken_back = LabelDecision.objects.create(
        number=number + 1, detector=row.detector, detector_version=row.detector_version,
        label=row.label, digest=row.digest, canonical=row.canonical, taxonomy=row.taxonomy,
        note=note.strip()[:300], decided_by=actor[:200], withdrawn=True,
    )  # fmt: skip
    _record("label.decision_withdrawn", taken_back, actor)
    settle({row.detector})
    return taken_back


@transaction.atomic
def suggest(*, decision: uuid.UUID, tenant: uuid.UUID, note: str = "", actor: str) -> Suggestion:
    """Offer a decision in force to everybody: operators see it. `tenant` is the active one's id.

    Only what is plainly a label leaves the tenant. Raises ReviewError.
    """
    row = LabelDecision.objects.filter(pk=decision).first()
    if row is None:
        raise NoItemError("There is no such decision. Choose one of the list.")
    if not selectors.in_force(row):
        raise ReviewError("This decision is not in force any more. Suggest the newest instead.")
    if not can_be_suggested(row) or row.label is None:
        raise ReviewError(
            "The detector's name or label is not plainly one: it may hold somebody's data, so it "
            "stays here. Tell the platform's operators in another way."
        )
    try:
        made = suggesting.suggest(
            tenant=tenant, detector=row.detector, label=row.label, canonical=row.canonical,
            taxonomy=row.taxonomy, note=note,
        )  # fmt: skip
    except ChangeError as error:
        raise ReviewError(str(error)) from None
    _record("label.suggested", row, actor)
    return made


def can_be_suggested(decision: LabelDecision) -> bool:
    """Whether detector and label may leave the tenant: both look like what they should be."""
    names = (decision.detector, decision.label or "")
    return all(map(recordable_label, names)) and decision.detector != UNRECORDABLE


@transaction.atomic
def dismiss(*, items: Sequence[uuid.UUID], actor: str) -> list[ReviewItem]:
    """Put open items aside without deciding: they are counted on. Raises ReviewError."""
    return _move(items, ReviewState.OPEN, ReviewState.DISMISSED, "review.dismissed", actor)


@transaction.atomic
def reopen(*, items: Sequence[uuid.UUID], actor: str) -> list[ReviewItem]:
    """Put dismissed items back into the queue. Raises ReviewError."""
    return _move(items, ReviewState.DISMISSED, ReviewState.OPEN, "review.reopened", actor)


def _move(
    items: Sequence[uuid.UUID], old: ReviewState, new: ReviewState, action: str, actor: str
) -> list[ReviewItem]:
    chosen = _items(items)
    for item in chosen:
        if item.state != old:
            raise ReviewError(
                f"{item} is {item.get_state_display().lower()} by now. Look at it again."
            )
    ReviewItem.objects.filter(pk__in=[item.pk for item in chosen]).update(state=new)
    for item in chosen:
        item.state = new
        record(action=action, actor=actor, target=str(item)[:200], detail={"item": str(item.pk)})
    return chosen


def locked() -> int:
    """One decision at a time, so that numbers are committed in their order. The last number."""
    require_tenant()
    with connection.cursor() as cursor:  # reading goes on
        cursor.execute(f"LOCK TABLE {LabelDecision._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return selectors.newest_number() or 0


def _meaning(canonical: Sequence[str], *, not_a_finding: bool) -> tuple[list[str], str]:
    """The labels, checked, and the taxonomy edition in force."""
    wanted = list(dict.fromkeys(canonical))
    release = release_in_force()
    if release is None:
        raise ReviewError("No knowledge is loaded. Run `manage.py load_config` first.")
    if not_a_finding == bool(wanted):
        raise ReviewError("Choose at least one label, or that it is not a finding: not both.")
    if len(wanted) > MOST_LABELS:
        raise ReviewError(f"Choose at most {MOST_LABELS} labels.")
    labels = Label.objects.filter(edition=release.taxonomy, name__in=wanted)
    unknown = set(wanted) - set(labels.values_list("name", flat=True)) | (
        set(wanted) & NOT_TO_CHOOSE
    )
    if unknown:
        named = ", ".join(sorted(name[:100] for name in unknown))
        raise ReviewError(
            f"{named}: no label of taxonomy {release.taxonomy} that can be chosen. Choose another."
        )
    return wanted, release.taxonomy.edition


def _items(ids: Sequence[uuid.UUID]) -> list[ReviewItem]:
    wanted = set(ids)
    if not 0 < len(wanted) <= MOST_ITEMS:
        raise ReviewError(f"Choose 1 to {MOST_ITEMS} labels of the queue.")
    found = list(selectors.items().select_for_update().filter(pk__in=wanted).order_by("pk"))
    if len(found) != len(wanted):
        raise NoItemError("A label is not in the queue any more. Look at the queue again.")
    return found


def _refuse_decided(item: ReviewItem, replaces: int | None) -> None:
    """Nobody overwrites a decision that they have not seen."""
    if item.state != ReviewState.DECIDED:
        return
    newest = selectors.decisions_on(item).values_list("number", flat=True).first() or 0
    if newest != replaces:
        raise ReviewError(
            f"{item} has been decided meanwhile. Look at that decision first; then decide anew."
        )


def is_version(item: ReviewItem) -> bool:
    """Whether a decision can be for the version alone: one kept as a hash is never met again."""
    return bool(item.detector_version) and not item.detector_version.startswith("hmac:")


def _record(action: str, decision: LabelDecision, actor: str) -> None:
    record(
        action=action,
        actor=actor,
        target=str(decision)[:200],
        detail={
            "number": decision.number,
            "canonical": decision.canonical,
            "version": decision.detector_version or "any",
        },
    )


def settle(detectors: Iterable[str]) -> None:
    """Bring the items of these detectors up to what is decided now; this process at once."""
    decisions = compiled_decisions()
    rows = selectors.items().filter(detector__in=set(detectors))
    opened, closed = [], []
    for item in rows.exclude(state=ReviewState.DISMISSED).order_by("pk"):
        meaning = decisions.find(
            item.detector, item.detector_version or None, item.label or None, item.digest or None
        )
        if meaning is None and item.state == ReviewState.DECIDED:
            opened.append(item.pk)
        elif meaning is not None and item.state == ReviewState.OPEN:
            closed.append(item.pk)
    ReviewItem.objects.filter(pk__in=opened).update(state=ReviewState.OPEN)
    ReviewItem.objects.filter(pk__in=closed).update(state=ReviewState.DECIDED)
    schema = require_tenant()
    transaction.on_commit(lambda: look_again(schema))

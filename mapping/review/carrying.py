"""Carries a tenant's decisions to another taxonomy edition, as a stage of a migration run."""

from collections.abc import Iterator
from typing import NamedTuple

from mapping.models import LabelDecision, MigrationRun
from mapping.relabel import Relabelling
from mapping.review import selectors
from mapping.review.services import locked, settle


class _Change(NamedTuple):
    """What a further row says of a decision. `withdrawn`: none of its labels is left."""

    row: LabelDecision
    canonical: list[str]
    taxonomy: str
    withdrawn: bool
    note: str


def carry_decisions(run: MigrationRun, rules: Relabelling) -> bool:
    """Carry all of them, in one batch: False, because none is left.

    The rows of old stay as they are; further rows say what counts from now on. Safe to repeat.
    """
    number = locked()
    changes = [*_taken_back(run), *_carried(run, rules)]
    for place, change in enumerate(changes, 1):
        row = change.row
        LabelDecision.objects.create(
            number=number + place, detector=row.detector, detector_version=row.detector_version,
            label=row.label, digest=row.digest, canonical=change.canonical,
            taxonomy=change.taxonomy, note=change.note, decided_by="system:migration",
            withdrawn=change.withdrawn, run=run.pk, carried_from=row.number,
        )  # fmt: skip
    settle({change.row.detector for change in changes})
    return False


def _carried(run: MigrationRun, rules: Relabelling) -> Iterator[_Change]:
    """Decisions in force on labels of the edition that the run leaves."""
    for row in selectors.approved_decisions():
        taken_back = run.undoes_id is not None and row.run == run.undoes_id
        if not row.canonical or taken_back or not rules.concerns(row.taxonomy):
            continue  # that a label states no finding holds in every edition
        ways = [(label, rules.outcome(label, row.detector, row.label)) for label in row.canonical]
        found = [label if way is None else way.target for label, way in ways]
        kept = list(dict.fromkeys(label for label in found if label is not None))
        note = f"Carried from taxonomy {run.source} to {run.target}"
        yield _Change(row, kept or row.canonical, run.target, not kept, note)


def _taken_back(run: MigrationRun) -> Iterator[_Change]:
    """What the run that this one undoes has written and still counts: as it was decided before."""
    if run.undoes_id is None:
        return
    newest = LabelDecision.objects.filter(pk__in=selectors.newest_of_each(), run=run.undoes_id)
    for row in newest.order_by("number"):
        before = LabelDecision.objects.get(number=row.carried_from or 0)
        note = f"As before the migration to taxonomy {row.taxonomy}"
        yield _Change(row, before.canonical, before.taxonomy, before.withdrawn, note)

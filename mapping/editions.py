"""Verbs on taxonomy editions in a tenant: carry its data to another one, check it, take it back.

Events keep the labels that they were given. A run writes beside each event what it is shown with,
in batches: the rows of a batch and the cursor are committed together, so a process that is killed
leaves neither doubles nor gaps, and any other process goes on where it stopped.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uuid_utils.compat
from django.db import connection, transaction
from django.utils import timezone

from audit.services import record
from mapping.carrying import (
    EventRow,
    all_events,
    carry,
    late_events,
    long_query,
    next_events,
    strays,
)
from mapping.errors import MigrationError
from mapping.models import Direction, MigratedLabels, MigrationRun, RunState
from mapping.relabel import Relabelling
from mapping.review.carrying import carry_decisions
from mapping.selectors import release_in_force
from mapping.tallies import Tally
from taxonomy.errors import NoPlanError
from taxonomy.selectors import (
    LoadedPlan,
    is_edition,
    labels_of,
    loaded_plan,
)
from tenants.context import public_context, require_tenant

BATCH = 2_000
READ_BATCH = 5_000
Stage = Callable[[MigrationRun, Relabelling], bool]


def _carry_events(run: MigrationRun, rules: Relabelling) -> bool:
    """One batch of events. False when none is left."""
    rows = next_events(
        after=run.cursor, size=run.batch_size, run=run.pk, undone=run.undoes_id
    ) or late_events(run=run, size=run.batch_size)
    if not rows:
        return False
    tally = Tally.from_dict(run.counts)
    tally.merge(carry(run, rules, rows))
    run.counts = tally.as_dict()
    run.rows_seen += len(rows)
    run.cursor = max(rows[-1].id, run.cursor or rows[-1].id)
    return True


# What a run carries, in this order. A table that holds canonical labels of a tenant joins here with
# one line: its function carries the next batch after `run.cursor` and says whether there was one.
STAGES: dict[str, Stage] = {"events": _carry_events, "decisions": carry_decisions}


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do now."""

    source: str
    target: str
    plan_version: str
    tally: Tally
    lossy: tuple[str, ...]  # what the way back cannot tell
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "from": self.source, "to": self.target, "plan": self.plan_version,
            "counts": self.tally.as_dict(), "lossy": list(self.lossy),
            "problems": list(self.problems),
        }  # fmt: skip


def rules_for(loaded: LoadedPlan, direction: str) -> Relabelling:
    """The rules of a plan in a direction."""
    if direction == Direction.APPLY:
        return Relabelling.forward(loaded.plan)
    with public_context():
        back = loaded.plan.way_back(
            old=labels_of(loaded.plan.old), new=labels_of(loaded.plan.new, further=True)
        )
    return Relabelling.backward(back)


def preview(
    *, old: str, new: str, direction: str, after_batch: Callable[[int], None] = lambda _: None
) -> Preview:
    """Count what a run would do, without doing it. Raises NoPlanError, MigrationError.

    `after_batch` is told how many events were looked at since it was called before.
    """
    require_tenant()
    running = MigrationRun.objects.filter(state=RunState.RUNNING).first()
    if running is not None:
        raise MigrationError(
            f"{running} is under way. Finish it first: {_command(running, running.direction)}."
        )
    loaded, undoes = _what_to_do(old, new, direction)
    rules = rules_for(loaded, direction)
    tally = Tally()
    for rows in all_events(size=READ_BATCH, undone=undoes.pk if undoes else None):
        for row in rows:
            if rules.concerns(row.taxonomy):
                tally.add(rules.event(row.before))
        after_batch(len(rows))
    return Preview(
        rules.source,
        rules.target,
        loaded.plan.version,
        tally,
        loaded.plan.invert().lossy,
        tuple(tally.imbalances(rules)),
    )


@transaction.atomic
def start_run(
    *,
    old: str,
    new: str,
    direction: str,
    actor: str,
    batch_size: int = BATCH,
    background: bool = False,
) -> MigrationRun:
    """The run to carry on: a new one, or the one that was interrupted or has late events to take.

    Raises NoPlanError, MigrationError.
    """
    lock = f"{require_tenant()}.mapping.migration"
    with connection.cursor() as cursor:  # two starts at once: the second finds the first's run
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
    run = MigrationRun.objects.filter(state=RunState.RUNNING).first()
    if run is not None:
        if (run.old, run.new, run.direction) != (old, new, direction):
            raise MigrationError(
                f"{run} is under way. Finish it first: {_command(run, run.direction)}."
            )
        return _again(run, actor, background)
    loaded, undoes = _what_to_do(old, new, direction)
    last = _last(old, new)
    if last is not None and last.direction == direction:
        return _again(last, actor, background)
    run = MigrationRun.objects.create(
        id=_next_id(),
        old=old,
        new=new,
        plan_version=loaded.plan.version,
        plan_sha256=loaded.sha256,
        direction=direction,
        undoes=undoes,
        stage=next(iter(STAGES)),
        rows_total=number_of_events(),
        batch_size=batch_size,
        background=background,
        actor=actor[:200],
    )
    _record("migration.started", run, actor)
    return run


def _next_id() -> uuid.UUID:
    """After the ids of all earlier runs, whose order counts, even if a clock was put back."""
    mine: uuid.UUID = uuid_utils.compat.uuid7()
    last = MigrationRun.objects.order_by("-id").values_list("id", flat=True).first()
    return mine if last is None or last < mine else uuid.UUID(int=last.int + 1)


def _again(run: MigrationRun, actor: str, background: bool) -> MigrationRun:
    """Resume an interrupted run; let a finished one look for events that came since."""
    if run.state == RunState.DONE:
        run.stage, run.rows_total = next(iter(STAGES)), max(number_of_events(), run.rows_seen)
    run.state, run.finished_at, run.background = RunState.RUNNING, None, background
    run.save()
    _record("migration.resumed", run, actor)
    return run


def _what_to_do(old: str, new: str, direction: str) -> tuple[LoadedPlan, MigrationRun | None]:
    """The plan to use and the run to take back. Raises NoPlanError, MigrationError."""
    last = _last(old, new)
    if last is None and direction == Direction.INVERT:
        raise MigrationError(
            f"No migration from {old} to {new} is applied here. There is nothing to invert."
        )
    if last is not None and direction in (Direction.INVERT, last.direction):
        with public_context():  # the version that was applied, whatever was loaded since
            loaded = loaded_plan(old=old, new=new, sha256=last.plan_sha256)
            newest = loaded_plan(old=old, new=new)
        if direction == Direction.APPLY and newest.sha256 != loaded.sha256:
            raise MigrationError(
                f"Version {last.plan_version} of the plan is applied, and {newest.plan.version} is "
                f"loaded. Invert first: {_command(last, Direction.INVERT)}."
            )
        return loaded, last.undoes if last.direction == direction else last
    with public_context():
        loaded = loaded_plan(old=old, new=new)
    release = release_in_force()
    if release is not None and is_edition(release.taxonomy.edition, old):
        raise MigrationError(
            f"Edition {old} is in force, so events of it still come in. Put {new} in force first: "
            "`manage.py load_config`."
        )
    return loaded, last


def _last(old: str, new: str) -> MigrationRun | None:
    """The finished run of this plan that is shown. Raises MigrationError if one stands on it."""
    done = list(MigrationRun.objects.filter(state=RunState.DONE).select_related("undoes"))
    later: list[MigrationRun] = []
    for run in done:
        if (run.old, run.new) != (old, new):
            later.append(run)
            continue
        for other in later:
            if other.source == run.target:
                back = Direction.APPLY if other.direction == Direction.INVERT else Direction.INVERT
                raise MigrationError(
                    f"{other} stands on it. Take that back first: {_command(other, back)}."
                )
        return run
    return None


def _command(run: MigrationRun, direction: str) -> str:
    more = " --invert" if direction == Direction.INVERT else ""
    return f"`manage.py apply_migration {run.old} {run.new}{more}`"


def number_of_events() -> int:
    """How many events the tenant has."""
    with long_query() as cursor:
        cursor.execute("SELECT count(*) FROM mapping_mappingevent")
        return int(cursor.fetchone()[0])


def carry_on(
    *, run_id: uuid.UUID, after_batch: Callable[[MigrationRun], bool | None] = lambda _: None
) -> MigrationRun:
    """Do batch after batch until the run is done, each in a transaction of its own.

    `after_batch` may return False to stop; the run can be carried on later. Two processes may work
    on one run: they take turns. Raises NoPlanError if its plan is not loaded here.
    """
    run = MigrationRun.objects.get(pk=run_id)
    with public_context():
        loaded = loaded_plan(old=run.old, new=run.new, sha256=run.plan_sha256)
    rules = rules_for(loaded, run.direction)
    while run.state == RunState.RUNNING:
        run = _step(run_id, rules)
        if after_batch(run) is False:
            break
    return run


@transaction.atomic
def _step(run_id: uuid.UUID, rules: Relabelling) -> MigrationRun:
    run = MigrationRun.objects.select_for_update().get(pk=run_id)
    if run.state != RunState.RUNNING:
        return run  # another process has finished it
    if not STAGES[run.stage](run, rules):
        stages = list(STAGES)
        following = stages[stages.index(run.stage) + 1 :]
        if following:
            run.stage, run.cursor = following[0], None
        else:
            _finish(run)
    run.save()
    return run


def _finish(run: MigrationRun) -> None:
    run.state, run.finished_at = RunState.DONE, timezone.now()
    if run.undoes_id is not None:
        MigratedLabels.objects.filter(run_id=run.undoes_id).delete()  # of events that expired
        MigrationRun.objects.filter(pk=run.undoes_id).update(state=RunState.UNDONE)
    _record("migration.finished", run, run.actor)


def _record(action: str, run: MigrationRun, actor: str) -> None:
    counts = Tally.from_dict(run.counts)
    record(
        action=action,
        actor=actor,
        target=str(run.pk),
        detail={
            "from": run.source, "to": run.target, "plan": run.plan_version,
            "sha256": run.plan_sha256, "direction": run.direction,
            "events": counts.events, "lossy": counts.lossy, "taken_back": counts.undone,
        },
    )  # fmt: skip


def overdue_runs(*, before: Any) -> list[uuid.UUID]:
    """Runs in the background that have not moved since `before`: their worker died."""
    require_tenant()
    stale = MigrationRun.objects.filter(
        state=RunState.RUNNING, background=True, moved_at__lt=before
    )
    return list(stale.values_list("id", flat=True))


@dataclass(slots=True)
class Verification:
    """A run held against the events themselves. It balances if `problems` is empty."""

    run: MigrationRun
    events: int = 0  # of the run's edition, each looked at
    rows: int = 0  # that the run has stored for them
    tally: Tally = field(default_factory=Tally)
    missing: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "run": str(self.run.pk), "events": self.events, "rows": self.rows,
            "missing": self.missing, "wrong": self.wrong, "counts": self.tally.as_dict(),
            "problems": self.problems, "balanced": not self.problems,
        }  # fmt: skip


def verify(
    *, old: str, new: str, after_batch: Callable[[int], None] = lambda _: None
) -> Verification:
    """Compute every event's labels again and compare them with what the last run has stored.

    `after_batch` as for preview. Raises MigrationError if no such run is finished, NoPlanError.
    """
    require_tenant()
    run = _last(old, new)
    if run is None:
        raise MigrationError(
            f"No finished migration between {old} and {new} is shown here. Apply it first."
        )
    with public_context():
        loaded = loaded_plan(old=old, new=new, sha256=run.plan_sha256)
    rules = rules_for(loaded, run.direction)
    result = Verification(run, rows=MigratedLabels.objects.filter(run=run, shown=True).count())
    for rows in all_events(size=READ_BATCH, run=run.pk, undone=run.undoes_id):
        for row in rows:
            _compare(result, rules, row)
        after_batch(len(rows))
    result.problems += _verdict(result, rules)
    record(
        action="migration.verified",
        actor="system:verify",
        target=str(run.pk),
        detail={"events": result.events, "balanced": not result.problems},
    )
    return result


def _compare(result: Verification, rules: Relabelling, row: EventRow) -> None:
    if not rules.concerns(row.taxonomy):
        result.wrong += row.written is not None
        return
    result.events += 1
    after = rules.event(row.before)
    result.tally.add(after)
    if row.written is None:
        result.missing += 1
    elif (after.labels, after.canonical, after.pairs, True) != row.written:
        result.wrong += 1


def _verdict(result: Verification, rules: Relabelling) -> Iterator[str]:
    run = result.run
    again = "Run the command again without --verify."
    if result.missing:
        yield f"{result.missing} events of {run.source} came in since and are not carried. {again}"
    if result.wrong:
        yield f"{result.wrong} events are shown with other labels than the plan says. Invert it."
    if result.rows != result.events - result.missing:
        yield f"{result.rows} rows are stored for {result.events - result.missing} events."
    alone = strays(run)
    if alone:
        yield f"{alone} rows have no event. Retention removes them with its next run."
    yield from result.tally.imbalances(rules)
    counted = Tally.from_dict(run.counts)
    if not result.missing and result.events == counted.events:
        if (counted.flow, counted.after) != (result.tally.flow, result.tally.after):
            yield "The labels counted while it ran differ from those counted now."
    elif result.events - result.missing > counted.events:
        yield f"The run counted {counted.events} events and has carried more."


__all__ = [
    "BATCH", "STAGES", "NoPlanError", "Preview", "Verification", "carry_on", "number_of_events",
    "overdue_runs", "preview", "rules_for", "start_run", "verify",
]  # fmt: skip

"""Writes what a trainer tells, as far as a run may hold it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from tenants.context import public_context
from training.runs.models import (
    ACTIVE,
    LINE_CHARS,
    PointKind,
    RunLine,
    RunPoint,
    TrainingRun,
)
from training.runs.tail import Told

MOST_POINTS = 2_000  # of training; half of them go when there are more
MOST_LINES = 2_000
_MOST_WAITING = 20_000  # while the database is away
_POINT_FIELDS = (
    "position", "loss", "learning_rate", "accuracy", "parent_accuracy", "tokens_per_second", "at",
)  # fmt: skip


@dataclass
class Waiting:
    """What has been told and is not written yet."""

    points: list[tuple[int, Told]] = field(default_factory=list)  # with their positions
    lines: list[tuple[str, str]] = field(default_factory=list)

    def cut(self) -> None:
        """The oldest go where the database stays away for hours."""
        del self.points[:-_MOST_WAITING], self.lines[:-_MOST_WAITING]


class Writer:
    """Of one attempt at a run. Points keep their places, so that reading again changes nothing."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        with public_context():
            last = RunLine.objects.filter(run=run).aggregate(last=Max("number"))["last"]
            # Of an attempt before this one, whose points were thinned out so.
            kept = RunPoint.objects.filter(run=run, kind=PointKind.STEP).order_by("position")
            places = list(kept.values_list("position", flat=True)[:2])
        self._line = last or 0
        self._every = max(1, places[1] - places[0]) if len(places) > 1 else 1
        self._positions = dict.fromkeys(PointKind.values, 0)

    def begin_anew(self) -> None:
        """The file of metrics was written anew, by a run that was resumed: its lines come again."""
        self._positions = dict.fromkeys(PointKind.values, 0)

    def place(self, told: Told) -> tuple[int, Told]:
        """What was told, with its position among those of its kind."""
        position = self._positions[told.kind]
        self._positions[told.kind] += 1
        return position, told

    def write(self, waiting: Waiting) -> TrainingRun | None:
        """Write it with a sign of life; the run as it stands now. None if it is not ours any more.

        Raises DatabaseError; nothing is written then, and all of it may be given again.
        """
        line = self._line
        try:
            with public_context(), transaction.atomic():
                mine = (
                    TrainingRun.objects.select_for_update()
                    .filter(pk=self._run.pk, state__in=ACTIVE, attempts=self._run.attempts)
                    .first()
                )
                if mine is None:
                    return None
                now = timezone.now()
                self._write_points(waiting.points, now)
                self._write_lines(waiting.lines, now)
                _advance(mine, [told for _, told in waiting.points])
                mine.seen_at = now
                mine.save()
        except BaseException:
            self._line = line
            raise
        waiting.points.clear()
        waiting.lines.clear()
        return mine

    def _write_points(self, points: list[tuple[int, Told]], now: datetime) -> None:
        # Of two with one step the later one counts: one statement must not write a row twice.
        rows = {
            (told.kind, told.step): RunPoint(
                run=self._run, kind=told.kind, step=told.step, position=position, loss=told.loss,
                learning_rate=told.learning_rate, accuracy=told.accuracy,
                parent_accuracy=told.parent_accuracy, tokens_per_second=told.tokens_per_second,
                at=now,
            )
            for position, told in points
            if told.kind == PointKind.EVALUATION or position % self._every == 0
        }  # fmt: skip
        if not rows:
            return
        RunPoint.objects.bulk_create(
            rows.values(), batch_size=1_000, update_conflicts=True,
            unique_fields=["run", "kind", "step"], update_fields=_POINT_FIELDS,
        )  # fmt: skip
        for kind in PointKind.values:
            self._thin_out(kind)

    def _thin_out(self, kind: str) -> None:
        """Every second goes, as often as there are too many. Those of evaluations are few."""
        points = RunPoint.objects.filter(run=self._run, kind=kind)
        while points.count() > MOST_POINTS:
            if kind == PointKind.EVALUATION:
                oldest = points.order_by("position").values("pk")[: MOST_POINTS // 2]
                points.filter(pk__in=list(oldest.values_list("pk", flat=True))).delete()
                continue
            self._every *= 2
            with connection.cursor() as cursor:
                cursor.execute(
                    "DELETE FROM public.runs_runpoint"
                    " WHERE run_id = %s AND kind = %s AND position %% %s <> 0",
                    [self._run.pk, kind, self._every],
                )

    def _write_lines(self, lines: list[tuple[str, str]], now: datetime) -> None:
        rows = []
        for level, text in lines:
            self._line += 1
            rows.append(
                RunLine(
                    run=self._run, number=self._line, level=level, text=text[:LINE_CHARS], at=now
                )
            )
        RunLine.objects.bulk_create(rows[-MOST_LINES:], batch_size=1_000)
        RunLine.objects.filter(run=self._run, number__lte=self._line - MOST_LINES).delete()


def _advance(run: TrainingRun, told: list[Told]) -> None:
    """What the list and the head of the page say."""
    for one in told:
        run.step = one.step
        if one.kind == PointKind.STEP:
            _set(run, steps=one.steps, loss=one.loss, tokens_per_second=one.tokens_per_second)
            run.seconds_left = one.seconds_left
        elif one.accuracy is not None and _is_best(run, one.accuracy, one.loss):
            run.best_accuracy, run.best_loss, run.best_step = one.accuracy, one.loss, one.step


def _is_best(run: TrainingRun, accuracy: float, loss: float) -> bool:
    """As the trainer chooses: more right answers; or as many, with more probability on them."""
    if run.best_accuracy is None or run.best_loss is None:
        return True
    return (accuracy, -loss) > (run.best_accuracy, -run.best_loss)


def _set(run: TrainingRun, **values: Any) -> None:
    for name, value in values.items():
        if value is not None:
            setattr(run, name, value)

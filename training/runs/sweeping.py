"""Looks after runs that nobody looks after: lost followers, left trainers, lost messages."""

from datetime import datetime

import structlog
from django.utils import timezone

from tenants.context import public_context
from training.runs import folders, process, services
from training.runs.models import ACTIVE, RunState, TrainingRun
from training.runs.process import ProcessId, machine
from training.runs.selectors import FOREIGN_LOST_AFTER, silent_runs, unclaimed_run

GRACE_SECONDS = 30.0
_LEFT = 5  # runs of this machine that are looked at for trainers that were left
log = structlog.get_logger("training.runs")


def sweep_runs(*, now: datetime | None = None) -> list[TrainingRun]:
    """Mark runs as lost whose follower is gone, and send the next one. The lost ones."""
    now = now or timezone.now()
    with public_context():
        silent = list(silent_runs(now))
        lost = [found for run in silent if (found := _look_at(run, now)) is not None]
        end_left_trainers()
        waiting = unclaimed_run(now)
    if waiting is not None:
        services.send(waiting.id)
    return lost


def end_left_trainers() -> None:
    """End trainers on this machine whose run goes on no more: two would write in one folder."""
    with public_context():
        left = TrainingRun.objects.filter(host=machine(), trainer_pid__isnull=False)
        for run in left.exclude(state__in=ACTIVE).order_by("-started_at")[:_LEFT]:
            process.end(_trainer(run), grace=GRACE_SECONDS)


def _trainer(run: TrainingRun) -> ProcessId:
    return ProcessId(run.trainer_pid or 0, run.trainer_started)


def _look_at(run: TrainingRun, now: datetime) -> TrainingRun | None:
    """A silent run: lost, unless its follower lives."""
    if run.host == machine():
        follower = ProcessId(run.follower_pid or 0, run.follower_started)
        if follower.is_alive:
            return None  # it waits for the database, or for its disk
        process.end(_trainer(run), grace=GRACE_SECONDS)
        message = "What followed it was killed. Its trainer is stopped"
    else:
        if run.seen_at is not None and run.seen_at > now - FOREIGN_LOST_AFTER:
            return None
        _leave_word(run)
        message = f"Nothing is heard of it from {run.host}. See that no trainer runs there"
    ended = services.end_run(
        run=run, state=RunState.LOST,
        message=f"{message}. Resume goes on from the last checkpoint.",
    )  # fmt: skip
    if ended is not None:
        log.warning("training_run_lost")
    return ended


def _leave_word(run: TrainingRun) -> None:
    """A trainer on another machine that shares the folder stops at its next step."""
    folder = folders.folder_of_run(run.id)
    try:
        (folder / folders.CANCEL).touch()
    except OSError:
        log.info("training_folder_not_shared")

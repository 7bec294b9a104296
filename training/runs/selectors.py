"""Shared reads of runs."""

import uuid
from datetime import datetime, timedelta

from django.db.models import QuerySet

from training.runs.errors import RunError
from training.runs.models import ACTIVE, RunState, TrainingRun
from training.runs.process import machine

# A follower writes every second. Longer silences are those of a database that was away.
LOST_AFTER = timedelta(seconds=90)
# Of another machine nobody here can see whether its follower lives.
FOREIGN_LOST_AFTER = timedelta(minutes=10)
# A worker that is free takes a run at once.
UNCLAIMED_AFTER = timedelta(seconds=15)
_SHORTEST_NAME = 4


def find_run(name: str) -> TrainingRun:
    """The run of that id, or the one whose id ends or begins so. Raises RunError."""
    try:
        found = list(TrainingRun.objects.filter(pk=uuid.UUID(name)))
    except ValueError:
        known = TrainingRun.objects.values_list("pk", flat=True) if _is_part(name) else []
        wanted = [one for one in known if str(one).startswith(name) or str(one).endswith(name)]
        found = list(TrainingRun.objects.filter(pk__in=wanted[:2]))
    if len(found) != 1:
        several = "There are several runs" if found else "There is no run"
        raise RunError(f"{several} {name}. `manage.py runs list` names those that there are.")
    return found[0]


def _is_part(name: str) -> bool:
    return len(name) >= _SHORTEST_NAME and set(name) <= set("0123456789abcdef-")


def running_here() -> TrainingRun | None:
    """The run that holds this machine."""
    return TrainingRun.objects.filter(state__in=ACTIVE, host=machine()).first()


def active_runs() -> QuerySet[TrainingRun]:
    """Runs on which a trainer works, on any machine."""
    return TrainingRun.objects.filter(state__in=ACTIVE).order_by("started_at")


def silent_runs(now: datetime) -> QuerySet[TrainingRun]:
    """Active runs whose follower has given no sign of life for too long."""
    return active_runs().filter(seen_at__lt=now - LOST_AFTER)


def oldest_waiting() -> TrainingRun | None:
    """The run that has waited longest."""
    return TrainingRun.objects.filter(state=RunState.QUEUED).order_by("queued_at").first()


def unclaimed_run(now: datetime) -> TrainingRun | None:
    """The run that has waited longest, if no worker took it at once."""
    found = oldest_waiting()
    return found if found is not None and found.queued_at < now - UNCLAIMED_AFTER else None

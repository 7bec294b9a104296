"""Verbs on runs: start one, cancel it, resume it; take it for a follower, and end it.

The row is the outbox: a run waits (`queued`) until a worker takes it, and training.runs.sweeping
sends lost messages again. One run at a time a machine: the database sees to it.
"""

import uuid
from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from audit.services import record
from pillars import queue
from tenants.context import public_context
from training.runs.errors import RunError
from training.runs.folders import base_model, find_data_set, resolved
from training.runs.models import ACTIVE, MESSAGE_CHARS, RunState, TrainingRun
from training.runs.process import ProcessId, machine, this_process

ACTOR = "system:training"
TASK = "training.run"
# A message that nobody takes in time is dropped: the sweep sends another.
MESSAGE_SECONDS = 60


@transaction.atomic
def start_run(
    *, profile: str, data_set: str, overrides: Mapping[str, str], actor: str, base: str = "",
    background: bool = True,
) -> TrainingRun:  # fmt: skip
    """Ask for a run. `data_set`: a name, or the beginning of a digest, in the store.

    `background`: a worker takes it; else the caller will. `base`: what is trained on, if not what
    `training.base` says. Raises RunError, which names the field at fault.
    """
    chosen = resolved(profile, overrides)
    data = find_data_set(data_set)
    with public_context():
        run = TrainingRun.objects.create(
            profile=profile,
            overrides=dict(overrides),
            data_set=data.digest,
            data_set_name=data.name[:100],
            base=base or base_model(),
            seed=chosen.seed,
            started_by=actor[:200],
            queued_at=timezone.now(),
        )
        record(
            action="training_run.started",
            actor=actor,
            target=str(run.id),
            detail={
                "profile": profile,
                "overrides": run.overrides,
                "data_set": run.data_set,
                "seed": run.seed,
            },
        )
    if background:
        _send(run)
    return run


@transaction.atomic
def request_cancel(*, run_id: uuid.UUID, actor: str) -> TrainingRun:
    """Ask a run to stop. One that waits is cancelled at once. Raises RunError for an ended one."""
    with public_context():
        run = _locked(run_id)
        now = timezone.now()
        if run.state == RunState.QUEUED:
            run.state, run.ended_at = RunState.CANCELLED, now
            run.message = "Cancelled before it began."
        elif run.state == RunState.RUNNING:
            run.state = RunState.CANCELLING
        elif run.state == RunState.CANCELLING:
            raise RunError("It has been asked to stop already: it saves a checkpoint first.")
        else:
            raise RunError(f"It has ended already ({run.get_state_display().lower()}).")
        run.cancel_asked_at = now
        run.save()
        record(action="training_run.cancel_requested", actor=actor, target=str(run.id))
    return run


@transaction.atomic
def resume_run(*, run_id: uuid.UUID, actor: str, background: bool = True) -> TrainingRun:
    """Let a run that ended too early go on in its folder. Raises RunError for any other."""
    with public_context():
        run = _locked(run_id)
        if not run.is_resumable:
            reason = "goes on, or waits" if run.is_open else "is done: there is nothing left"
            raise RunError(f"{run} {reason}. Only what ended too early can be resumed.")
        run.state, run.queued_at = RunState.QUEUED, timezone.now()
        run.ended_at = run.cancel_asked_at = run.seconds_left = None
        run.message = ""
        run.save()
        record(
            action="training_run.resumed",
            actor=actor,
            target=str(run.id),
            detail={"step": run.step, "attempt": run.attempts + 1},
        )
    if background:
        _send(run)
    return run


def _send(run: TrainingRun) -> None:
    transaction.on_commit(lambda: send(run.id))


def send(run_id: uuid.UUID) -> bool:
    """Tell the workers of a run that waits; False if the broker did not take it."""
    return queue.dispatch(TASK, expires=MESSAGE_SECONDS, run_id=str(run_id))


def _locked(run_id: uuid.UUID) -> TrainingRun:
    run = TrainingRun.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise RunError("There is no such run. `manage.py runs list` names those that there are.")
    return run


# -- by those who follow a trainer -----------------------------------------------------------------


@transaction.atomic
def claim_run(*, run_id: uuid.UUID) -> TrainingRun | None:
    """Take a run that waits, for this process; None if it does not wait, or this machine is busy.

    `attempts` says later on whether it is still ours.
    """
    ours, now = this_process(), timezone.now()
    with public_context():
        try:
            with transaction.atomic():
                taken = TrainingRun.objects.filter(pk=run_id, state=RunState.QUEUED).update(
                    state=RunState.RUNNING,
                    attempts=F("attempts") + 1,
                    host=machine(),
                    follower_pid=ours.pid,
                    follower_started=ours.started,
                    trainer_pid=None,
                    trainer_started="",
                    started_at=now,
                    seen_at=now,
                )
        except IntegrityError:  # one_run_a_machine
            return None
        return TrainingRun.objects.get(pk=run_id) if taken else None


@transaction.atomic
def note_trainer(*, run: TrainingRun, trainer: ProcessId) -> None:
    """Write down which process trains, so that others can find it if its follower dies."""
    with public_context():
        TrainingRun.objects.filter(pk=run.pk, state__in=ACTIVE, attempts=run.attempts).update(
            trainer_pid=trainer.pid, trainer_started=trainer.started
        )
        record(
            action="training_run.began",
            actor=ACTOR,
            target=str(run.id),
            detail={"attempt": run.attempts, "machine": run.host},
        )


@transaction.atomic
def end_run(*, run: TrainingRun, state: RunState, message: str) -> TrainingRun | None:
    """Write down how an attempt ended; None if it was ended by somebody else before."""
    now = timezone.now()
    with public_context():
        ended = TrainingRun.objects.filter(
            pk=run.pk, state__in=ACTIVE, attempts=run.attempts
        ).update(state=state, message=message[:MESSAGE_CHARS], ended_at=now, seconds_left=None)
        if not ended:
            return None
        found = TrainingRun.objects.get(pk=run.pk)
        record(
            action="training_run.ended",
            actor=ACTOR,
            target=str(run.id),
            detail={
                "state": state.value,
                "attempt": found.attempts,
                "step": found.step,
                "best_accuracy": found.best_accuracy,
            },
        )
        return found

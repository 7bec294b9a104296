"""Background work of runs: execute one, look after those that nobody looks after."""

import uuid

from celery import shared_task

from tenants.context import reset
from training.runs import services
from training.runs.following import execute_run
from training.runs.selectors import oldest_waiting
from training.runs.sweeping import end_left_trainers, sweep_runs

# Celery has no "never" where its settings have a limit.
_NO_LIMIT_SECONDS = 90 * 24 * 3600


# The message is done with as soon as a worker has it: the broker must not hand a run out a second
# time because it takes longer than `visibility_timeout`, or because its worker was killed. The row
# says that it runs, and the sweep sees when nobody follows it any more.
@shared_task(
    name=services.TASK, acks_late=False, reject_on_worker_lost=False,
    time_limit=_NO_LIMIT_SECONDS, soft_time_limit=_NO_LIMIT_SECONDS,
)  # fmt: skip
def run(*, run_id: str) -> None:
    """Execute one run (see training.runs.following), if it waits and this machine is free."""
    reset()
    end_left_trainers()
    if execute_run(run_id=uuid.UUID(run_id)) is None:
        return
    waiting = oldest_waiting()
    if waiting is not None:
        services.send(waiting.id)


@shared_task(name="training.sweep")
def sweep() -> int:
    """Mark lost runs, and send the one again that has waited longest. How many were lost."""
    reset()
    return len(sweep_runs())

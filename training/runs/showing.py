"""What a run is told as: facts for people, and for programs."""

from typing import Any

from training.runs.models import RunState, TrainingRun

_LIST_FIELDS = (
    "profile", "overrides", "data_set", "data_set_name", "base", "seed", "started_by", "state",
    "attempts", "message", "host", "step", "steps", "seconds_left", "tokens_per_second", "loss",
    "best_accuracy", "best_step",
)  # fmt: skip
_TIMES = ("created_at", "started_at", "ended_at", "seen_at")
# What each state asks of its reader, where the run's own message does not say it.
NEXT = {
    RunState.QUEUED: "It waits for a worker that listens to the queue `training`.",
    RunState.RUNNING: "It goes on by itself; this page follows it.",
    RunState.CANCELLING: "It saves a checkpoint, then it stops.",
}


def as_dict(run: TrainingRun) -> dict[str, Any]:
    """For `--json`."""
    times = {name: getattr(run, name) for name in _TIMES}
    return {
        "id": str(run.id),
        **{name: getattr(run, name) for name in _LIST_FIELDS},
        **{name: None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in times.items()},
    }


def spoken(run: TrainingRun) -> str:
    """Rate and time left, as far as they are known."""
    told = []
    if run.tokens_per_second:
        told.append(f"{run.tokens_per_second:,.0f} tokens/s")
    if run.seconds_left is not None and run.is_active:
        told.append(f"{duration(run.seconds_left)} left")
    return ", ".join(told)


def duration(seconds: float) -> str:
    """A span of time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def progress(run: TrainingRun) -> str:
    """Steps done, of all."""
    return f"{run.step:,} of {run.steps:,} steps" if run.steps else "no step yet"

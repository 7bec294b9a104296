"""What the page of a run shows, at first and each time that it asks again."""

from typing import Any

from pillars.badges import TONES
from training.runs.models import ACTIVE, OPEN, PointKind, RunState, TrainingRun
from training.runs.process import machine
from training.runs.selectors import active_runs
from training.runs.showing import NEXT, duration, progress

_LINES = 400
_UNKNOWN = "-"


def snapshot(run: TrainingRun, *, after: int = 0, line: int = 0) -> dict[str, Any]:
    """As JSON: where it stands, and what came after a point (its id) and a line (its number)."""
    points = list(run.points.filter(pk__gt=after).order_by("pk"))
    lines = list(run.lines.filter(number__gt=line).order_by("-number")[:_LINES])[::-1]
    return {
        "state": run.state,
        "state_text": run.get_state_display(),
        "tone": TONES.get(run.state, "quiet"),
        "open": run.is_open,
        "active": run.is_active,
        "resumable": run.is_resumable,
        "stoppable": run.state in (RunState.QUEUED, RunState.RUNNING),
        "percent": run.percent,
        "steps": run.steps,
        "facts": facts(run),
        "message": message(run),
        "points": [
            {
                "kind": point.kind,
                "step": point.step,
                "loss": point.loss,
                "accuracy": point.accuracy,
                "parent": point.parent_accuracy,
                "rate": point.learning_rate,
            }
            for point in points
        ],
        "lines": [
            {"level": one.level, "text": one.text, "at": f"{one.at:%H:%M:%S}"} for one in lines
        ],
        "after": points[-1].pk if points else after,
        "line": lines[-1].number if lines else line,
    }


def facts(run: TrainingRun) -> dict[str, str]:
    """What changes while it goes on, in words."""
    left = run.seconds_left if run.is_active else None
    best = run.best_accuracy
    return {
        "progress": progress(run),
        "rate": f"{run.tokens_per_second:,.0f} tokens/s" if run.tokens_per_second else _UNKNOWN,
        "left": _UNKNOWN if left is None else duration(left),
        "loss": _UNKNOWN if run.loss is None else f"{run.loss:.4f}",
        "best": _UNKNOWN if best is None else f"{best:.1%} at step {run.best_step:,}",
        "machine": run.host or _UNKNOWN,
        "attempts": str(run.attempts),
        "began": f"{run.started_at:%Y-%m-%d %H:%M:%S}" if run.started_at else _UNKNOWN,
        "ended": f"{run.ended_at:%Y-%m-%d %H:%M:%S}" if run.ended_at else _UNKNOWN,
    }


def message(run: TrainingRun) -> str:
    """How it ended and what to do, or what it waits for."""
    if run.state == RunState.QUEUED:
        others = [other for other in active_runs() if other.pk != run.pk]
        if others:
            names = ", ".join(f"{other} on {other.host}" for other in others)
            return f"It waits for its turn: one run at a time a machine. Now: {names}."
    if run.state == RunState.SUCCEEDED:
        command = f"manage.py evaluate {run.short} --by USERNAME"
        return f"{run.message} Next: `{command}` judges it and makes a version of it."
    return run.message or NEXT.get(RunState(run.state), "")


def evaluations(run: TrainingRun) -> list[Any]:
    """Points of the held-out rows, for the table."""
    return list(run.points.filter(kind=PointKind.EVALUATION).order_by("step"))


def overview() -> dict[str, Any]:
    """Above the list: what goes on now."""
    found = list(TrainingRun.objects.filter(state__in=OPEN).order_by("queued_at"))
    return {
        "active": [run for run in found if run.state in ACTIVE],
        "waiting": [run for run in found if run.state not in ACTIVE],
        "machine": machine(),
    }

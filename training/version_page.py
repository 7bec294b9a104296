"""What the page of a version shows: gates, figures, detectors beside the live version, files."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.utils.safestring import SafeString

from pillars.badges import badge, state_badge
from training.gating import gates_of
from training.models import ModelTransition, ModelVersion, RequestState, VersionState
from training.registry import RegistryError
from training.registry.card import shown
from training.registry.evaluation import WORDS, DetectorFigures, Evaluation
from training.requests import last_request
from training.selectors import live_version, standing_approval

_ENOUGH_ROWS = 10  # of a detector, to be compared by the gate


def page_of(version: ModelVersion) -> dict[str, Any]:
    """The context of the page. Reads all files of the version, unless it is retired."""
    live = live_version()
    compared = live if live is not None and live.pk != version.pk else None
    mine, theirs = _evaluation(version), _evaluation(compared)
    transitions = list(version.transitions.order_by("-number"))
    gates = _gates(version, transitions)
    return {
        "version": version,
        "badge": state_badge(version.state, version.get_state_display()),
        "approval": standing_approval(version),
        "gates": gates,
        "gates_failed": sum(not row["passed"] for row in gates["rows"]),
        "live": compared,
        "evaluation": mine,
        "figures": _figures(mine, theirs),
        "has_intervals": mine is not None and not mine.described.intervals.keys().isdisjoint(WORDS),
        "detectors": _detectors(mine, theirs),
        "files": sorted(version.manifest["files"].items()),
        "run": _run(version),
        "history": [_line(step) for step in transitions],
    }


def promotion_of(version: ModelVersion) -> dict[str, Any]:
    """The promotion that a worker is asked for, or the last one if it came to nothing.

    Empty if there is none, or something else became of the version since.
    """
    request = last_request(version)
    if request is None or request.state == RequestState.DONE:
        return {}
    last = version.transitions.order_by("-number").first()
    if last is not None and last.at > request.asked_at:
        return {}
    return {
        "waits": request.state == RequestState.WAITING,
        "who": request.actor.removeprefix("user:"),
        "at": request.asked_at,
        "lines": request.message.splitlines(),
    }


def _evaluation(version: ModelVersion | None) -> Evaluation | None:
    if version is None or version.evaluation is None:
        return None
    try:
        return Evaluation.of(version.evaluation)
    except RegistryError:
        return None


def _gates(version: ModelVersion, transitions: list[ModelTransition]) -> dict[str, Any]:
    """Checked now; of what is live, as they were when it was promoted; of what is retired, none."""
    if version.state == VersionState.LIVE:
        last = next((one for one in transitions if one.gates), None)
        rows, when = (last.gates, last.at) if last is not None else ([], None)
    elif version.state == VersionState.RETIRED:
        rows, when = [], None
    else:
        rows, when = [gate.as_dict() for gate in gates_of(version)], None
    return {"rows": [{**row, "badge": _passed(row["passed"])} for row in rows or []], "when": when}


def _passed(good: bool) -> SafeString:
    return badge("pass", "good") if good else badge("fail", "bad")


def _figures(mine: Evaluation | None, theirs: Evaluation | None) -> list[dict[str, Any]]:
    """A row for each figure, of both kinds of questions; beside them the live version's."""
    if mine is None:
        return []
    kinds = ("described", "label_alone")
    names = [name for name in WORDS if any(name in getattr(mine, kind).values for kind in kinds)]
    return [
        {
            "name": WORDS[name],
            "cells": [
                (
                    shown(getattr(mine, kind), name),
                    "-" if theirs is None else shown(getattr(theirs, kind), name),
                )
                for kind in kinds
            ],
        }
        for name in names
    ]


def _detectors(mine: Evaluation | None, theirs: Evaluation | None) -> list[dict[str, Any]]:
    """By detector, the ones that lost most first."""
    if mine is None:
        return []
    before = {} if theirs is None else theirs.by_detector
    rows = [_detector(name, one, before.get(name)) for name, one in mine.by_detector.items()]
    return sorted(rows, key=lambda row: (row["points"] is None, row["points"] or 0.0, row["name"]))


def _detector(name: str, now: DetectorFigures, before: DetectorFigures | None) -> dict[str, Any]:
    points = None if before is None else (now.accepted - before.accepted) * 100
    return {
        "name": name,
        "rows": now.rows,
        "few": now.rows < _ENOUGH_ROWS,
        "accepted": f"{now.accepted:.3f}",
        "parent": "-" if now.parent is None else f"{now.parent:.3f}",
        "live": "-" if before is None else f"{before.accepted:.3f}",
        "points": points,
        # A minus sign, not a hyphen: the column is read as numbers.
        "change": "-" if points is None else f"{points:+.1f}".replace("-", "\u2212"),
    }


def _run(version: ModelVersion) -> list[tuple[str, str]]:
    """What the run was told, in short; nested and long values stay in the file."""
    names = ("profile", "seed", "steps", "command", "started", "ended", "device")
    found = []
    for name in names:
        value = version.training.get(name)
        if isinstance(value, list):
            value = " ".join(map(str, value))
        elif isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str | int | float) and value != "":
            found.append((name.capitalize(), _told(name, str(value)[:300])))
    return found


def _told(name: str, value: str) -> str:
    """A moment as it is written everywhere here; the rest as the run says it."""
    if name in ("started", "ended"):
        with suppress(ValueError, OverflowError):
            return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return value


def _line(step: ModelTransition) -> dict[str, Any]:
    failed = [gate["name"] for gate in step.gates or [] if not gate["passed"]]
    return {
        "step": step,
        "who": step.actor.removeprefix("user:"),
        "badge": state_badge(step.to_state, step.get_to_state_display()),
        "gates": "" if step.gates is None else f"{len(step.gates)} gates, {len(failed)} failed",
    }

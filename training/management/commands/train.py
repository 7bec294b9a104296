"""`manage.py train`: train an adapter, here in the foreground or by a worker."""

import json
import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from access.users.models import User
from tenants.context import public_context
from training.runs import folders, services
from training.runs.errors import RunError
from training.runs.following import execute_run
from training.runs.models import RunState, TrainingRun
from training.runs.selectors import find_run, running_here
from training.runs.showing import as_dict, spoken
from training.runs.sweeping import end_left_trainers

ACTOR = "system:train"
REFUSED, CANCELLED, FAILED = 3, 4, 1
_STATUS = {RunState.SUCCEEDED: 0, RunState.REFUSED: REFUSED, RunState.CANCELLED: CANCELLED}


class Command(BaseCommand):
    """Thin caller of training.runs. Exit status 3: refused, and what to do is said; 4: cancelled,
    with its checkpoint; 1: failed, or lost.
    """

    help = (
        "Train an adapter on a data set of the store. Ctrl-C stops with a checkpoint, and "
        "--resume RUN goes on from it. --background leaves it to a worker."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--profile", default=folders.PACKAGED_PROFILE, help="see docs/training.md"
        )
        parser.add_argument("--dataset", metavar="NAME", help="name or digest; default: newest")
        parser.add_argument("--base", default="", help="another base model than training.base")
        parser.add_argument(
            "--set", action="append", default=[], dest="changes", metavar="KEY=VALUE",
            help="change a field of the profile",
        )  # fmt: skip
        parser.add_argument("--resume", metavar="RUN", help="go on with a run that ended too early")
        parser.add_argument("--by", metavar="USERNAME", help="who answers for it")
        parser.add_argument("--background", action="store_true", help="a worker trains")
        parser.add_argument("--json", action="store_true", help="print one JSON object in the end")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with public_context():
                self._handle(options)
        except RunError as error:
            raise CommandError(error.message, returncode=REFUSED) from None
        except DatabaseError as error:
            raise CommandError(
                f"The database does not answer ({type(error).__name__}). Check DATABASE_URL."
            ) from None

    def _handle(self, options: dict[str, Any]) -> None:
        background = options["background"]
        if not background:
            end_left_trainers()
            _refuse_if_busy()
        run = self._asked(options)
        if background:
            self._report(run, options["json"], f"{run} waits for a worker. {_how_to_look(run)}")
            return
        ended = self._follow(run)
        if ended is None:
            self._withdraw(run)
        else:
            self._report(ended, options["json"], _ending(ended))
            if status := _STATUS.get(RunState(ended.state), FAILED):
                raise SystemExit(status)

    def _asked(self, options: dict[str, Any]) -> TrainingRun:
        background, by = options["background"], _actor(options["by"])
        if options["resume"]:
            if options["dataset"] or options["changes"] or options["base"]:
                raise RunError("A run is resumed as it was begun: give --resume alone.")
            run = find_run(options["resume"])
            return services.resume_run(run_id=run.id, actor=by, background=background)
        return services.start_run(
            profile=options["profile"],
            data_set=options["dataset"] or _newest(),
            overrides=folders.overrides_of(options["changes"]),
            base=options["base"],
            actor=by,
            background=background,
        )

    def _follow(self, run: TrainingRun) -> TrainingRun | None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
        )  # fmt: skip
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(str(run), total=None, told="")

            def listen(now: TrainingRun, lines: list[tuple[str, str]]) -> None:
                for level, text in lines:
                    if console.is_terminal and text.startswith("step ") and "/" in text[:20]:
                        continue  # the bar says it
                    progress.console.print(
                        text if level == "info" else f"{level}: {text}",
                        markup=False,
                        highlight=False,
                    )
                progress.update(task, completed=now.step, total=now.steps or None, told=spoken(now))
                interrupts.pass_on(now)

            with _interrupts(self) as interrupts:
                return execute_run(run_id=run.id, listener=listen)

    def _withdraw(self, run: TrainingRun) -> None:
        """Another process was quicker to take the run, or this machine."""
        run.refresh_from_db()
        if run.state == RunState.QUEUED:
            services.request_cancel(run_id=run.id, actor=ACTOR)
            _refuse_if_busy()
            raise RunError("Another run has just begun on this machine: try again later.")
        raise RunError(f"A worker was quicker to take it. {_how_to_look(run)}")

    def _report(self, run: TrainingRun, as_json: bool, text: str) -> None:
        self.stdout.write(json.dumps(as_dict(run), indent=2) if as_json else text)


class _Interrupts:
    """Ctrl-C and SIGTERM, which ask the run to stop; the follower passes that on."""

    def __init__(self, command: BaseCommand) -> None:
        self._command = command
        self._told = False
        self._passed = False

    def note(self, number: int, frame: FrameType | None) -> None:
        self._told = True

    def pass_on(self, run: TrainingRun) -> None:
        if not self._told or self._passed:
            return
        self._passed = True
        self._command.stderr.write("Stopping: it saves a checkpoint first.")
        try:
            services.request_cancel(run_id=run.id, actor=ACTOR)
        except RunError as error:
            self._command.stderr.write(error.message)


@contextmanager
def _interrupts(command: BaseCommand) -> Iterator[_Interrupts]:
    found = _Interrupts(command)
    before = {one: signal.signal(one, found.note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield found
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _actor(username: str | None) -> str:
    """Who starts it: they do not approve the version that is made of it."""
    if username is None:
        return ACTOR
    if not User.objects.filter(username=username, is_active=True).exists():
        raise RunError(f"There is no {username} among the platform's people.")
    return f"user:{username}"


def _refuse_if_busy() -> None:
    busy = running_here()
    if busy is not None:
        raise RunError(
            f"{busy} runs on this machine. Wait for it, cancel it (`manage.py runs cancel "
            f"{busy.short}`), or give --background: then this one waits for its turn."
        )


def _newest() -> str:
    found = folders.data_sets()
    if not found:
        raise RunError(
            f"There is no data set in {folders.folder_of_data_sets()}. Build one first: "
            "`manage.py build_dataset`.",
            "data_set",
        )
    return found[0].digest


def _how_to_look(run: TrainingRun) -> str:
    return f"`manage.py runs show {run.short}` and the admin's page say how it goes."


def _ending(run: TrainingRun) -> str:
    lines = [f"{run}: {run.get_state_display().lower()}. {run.message}"]
    if run.best_accuracy is not None:
        lines.append(f"Best on the held-out rows: {run.best_accuracy:.1%}, step {run.best_step}.")
    if run.is_resumable:
        lines.append(f"Go on: manage.py train --resume {run.short}")
    else:
        lines.append(str(folders.folder_of_run(run.id) / folders.ADAPTER))
    return "\n".join(lines)

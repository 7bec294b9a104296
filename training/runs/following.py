"""Executes a run: starts the trainer, follows it, passes a wish to stop on, and says how it ended.

The trainer is a process of its own that reads and writes the run's folder. It outlives a follower
that is killed; the sweep then stops it and marks the run as lost (training.runs.sweeping).
"""

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from training.runs import folders, process, services
from training.runs.models import RunState, TrainingRun
from training.runs.outcomes import Ending, outcome
from training.runs.process import ProcessId
from training.runs.tail import Printed, Tail, told
from training.runs.writing import Waiting, Writer

# Called with the run and the new lines of its log, some times a second.
Listener = Callable[[TrainingRun, list[tuple[str, str]]], None]

TICK_SECONDS = 1.0
# A step and a checkpoint may take that long; then it is told by a signal, then killed.
CANCEL_GRACE_SECONDS = 120.0
TERMINATE_GRACE_SECONDS = 30.0
# How long an ended run is kept in mind while the database is away.
_DATABASE_PATIENCE_SECONDS = 900.0
_ROOTS = ("", "platform")
_NOBODY_FOLLOWS = (
    "What followed it was ended, and its trainer stopped. Resume goes on from the last checkpoint."
)
log = structlog.get_logger("training.runs")


def execute_run(
    *, run_id: uuid.UUID, listener: Listener | None = None, module: str = "training.lora"
) -> TrainingRun | None:
    """Train until the run has ended; the run then. None if it was not ours to take, or was taken.

    Never called inside a transaction: each sign of life is to be seen. `module`: what is run, by
    `python -m`.
    """
    run = services.claim_run(run_id=run_id)
    if run is None:
        return None
    folder = folders.folder_of_run(run.id)
    try:
        writer = Writer(run)
        trainer = _start(run, folder, module)
    except OSError as error:
        return services.end_run(
            run=run, state=RunState.FAILED,
            message=f"The trainer could not be started in {folder}: {error.strerror}. Correct "
            "that, then resume the run.",
        )  # fmt: skip
    except BaseException:
        services.end_run(
            run=run, state=RunState.FAILED, message="It was ended before its trainer began."
        )
        raise
    follower = _Follower(run, folder, trainer, writer, listener)
    try:
        return follower.follow()
    except BaseException:
        # A fault of ours, or a worker that ends: nothing trains without somebody who follows.
        follower.abandon()
        with suppress(DatabaseError, InterfaceError):  # then the sweep says so
            services.end_run(run=run, state=RunState.LOST, message=_NOBODY_FOLLOWS)
        raise


def _start(run: TrainingRun, folder: Path, module: str) -> "subprocess.Popen[bytes]":
    folder.mkdir(parents=True, exist_ok=True)
    (folder / folders.CANCEL).unlink(missing_ok=True)
    trainer = process.start(
        command(run, folder, module),
        folder=settings.REPOSITORY,
        log=folder / folders.LOG,
        environment=process.clean_environment(
            os.environ, [Path(settings.REPOSITORY, one) for one in _ROOTS]
        ),
    )
    found = process.identify(trainer.pid)
    if found is not None:
        services.note_trainer(run=run, trainer=found)
    return trainer


def command(run: TrainingRun, folder: Path, module: str = "training.lora") -> list[str]:
    """The words after `python` that train it."""
    data = folders.folder_of_data_sets() / run.data_set[:16]
    words = ["-m", module, "train", str(data), "--base", run.base, "--out", str(folder)]
    words += ["--profile", run.profile]
    for name, value in run.overrides.items():
        words += ["--set", f"{name}={value}"]
    return [*words, "--resume"] if run.attempts > 1 else words


class _Follower:
    """Of one attempt at a run."""

    def __init__(
        self, run: TrainingRun, folder: Path, trainer: "subprocess.Popen[bytes]", writer: Writer,
        listener: Listener | None,
    ) -> None:  # fmt: skip
        self._run, self._folder, self._trainer = run, folder, trainer
        self._writer, self._listener = writer, listener
        self._id = process.identify(trainer.pid) or ProcessId(trainer.pid, "")
        self._metrics = Tail(folder / folders.METRICS)
        # Lines of the attempts before this one have been written, or belong to them.
        self._log = Tail(folder / folders.LOG, from_end=run.attempts > 1)
        self._printed = Printed()
        again = f", attempt {run.attempts}" if run.attempts > 1 else ""
        self._waiting = Waiting(lines=[("info", f"Started on {run.host}{again}.")])
        self._asked: float | None = None  # when it was first told to stop
        self._sent: list[signal.Signals] = []

    def follow(self) -> TrainingRun | None:
        """Until it has ended and that is written down."""
        while True:
            code = self._trainer.poll()  # before reading: what it wrote last is read as well
            self._read()
            run = self._write(patient=code is None)
            if run is None:  # somebody has marked it as lost
                self.abandon()
                return None
            if code is not None:
                return self._end(run, code)
            self._press(run)
            time.sleep(TICK_SECONDS)

    def abandon(self) -> None:
        """Stop the trainer: it saves a checkpoint if it is quick."""
        process.end(self._id, grace=TERMINATE_GRACE_SECONDS)
        self._trainer.wait()

    def _read(self) -> None:
        anew, lines = self._metrics.read()
        if anew:
            self._writer.begin_anew()
        self._waiting.points += [self._writer.place(one) for one in map(told, lines) if one]
        self._waiting.lines += self._printed.lines(self._log.read()[1])

    def _write(self, *, patient: bool) -> TrainingRun | None:
        """The run as it stands; as it stood, while the database is away."""
        lines = list(self._waiting.lines)
        deadline = time.monotonic() + _DATABASE_PATIENCE_SECONDS
        while True:
            try:
                return self._told(self._writer.write(self._waiting), lines)
            except (DatabaseError, InterfaceError):
                if connection.in_atomic_block:
                    raise
                log.warning("database_unavailable", task=services.TASK)
                connection.close()
                self._waiting.cut()
                if patient:
                    return self._run
                if time.monotonic() > deadline:
                    raise
                time.sleep(TICK_SECONDS)

    def _told(self, run: TrainingRun | None, lines: list[tuple[str, str]]) -> TrainingRun | None:
        if run is not None:
            self._run = run
            if self._listener is not None:
                self._listener(run, lines)
        return run

    def _press(self, run: TrainingRun) -> None:
        """Pass a wish to stop on: by a file, then by a signal, at last by force."""
        if run.state != RunState.CANCELLING:
            return
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            self._waiting.lines.append(("info", "Asked to stop: it saves a checkpoint first."))
            try:
                (self._folder / folders.CANCEL).touch()
            except OSError:  # a full disk: the signal says the same
                self._tell(signal.SIGTERM)
        elif now > self._asked + CANCEL_GRACE_SECONDS + TERMINATE_GRACE_SECONDS:
            self._tell(signal.SIGKILL)
        elif now > self._asked + CANCEL_GRACE_SECONDS:
            self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        if number not in self._sent:
            self._sent.append(number)
            process.tell(self._id, number)

    def _end(self, run: TrainingRun, code: int) -> TrainingRun | None:
        ending = Ending(
            code=code,
            cancelling=run.state == RunState.CANCELLING,
            forced=bool(self._sent),
            step=run.step,
            fault=self._printed.fault,
            disk_is_full=_disk_is_full(self._folder),
        )
        state, message = outcome(ending)
        level = "info" if state in (RunState.SUCCEEDED, RunState.CANCELLED) else "error"
        self._waiting.lines.append((level, f"{state.label}. {message}"))
        if self._write(patient=False) is None:
            return None
        _sign(self._folder / folders.CARD, run.started_by)
        ended = services.end_run(run=run, state=state, message=message)
        log.info("training_run_ended", state=state.value)
        return ended


def _sign(card: Path, started_by: str) -> None:
    """Say in run.json who started it: they do not approve the version that is made of it."""
    try:
        content = json.loads(card.read_text("utf-8"))
        beside = card.with_suffix(".signed")
        beside.write_text(json.dumps({**content, "started_by": started_by}, indent=2), "utf-8")
        beside.replace(card)
    except FileNotFoundError:
        return  # it was refused before it began
    except (OSError, ValueError, TypeError) as error:
        log.warning("training_run_not_signed", error_type=type(error).__name__)


def _disk_is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 16 << 20
    except OSError:
        return False

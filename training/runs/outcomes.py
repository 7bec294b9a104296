"""How an attempt at a run ended, in words that say what to do. Plain but for the states."""

import signal
from dataclasses import dataclass

from training.lora.refusals import CANCELLED, DONE, REFUSED
from training.runs.models import RunState


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known when the trainer has ended."""

    code: int  # its exit status; below zero: the signal that killed it
    cancelling: bool  # somebody had asked it to stop
    forced: bool  # and it was told by a signal
    step: int
    fault: str  # the last error that it printed
    disk_is_full: bool


def outcome(ending: Ending) -> tuple[RunState, str]:
    """The state, and a message for people."""
    match ending.code:
        case _ if ending.code == DONE:
            return RunState.SUCCEEDED, "The best adapter is in the run's folder, in adapter/."
        case _ if ending.code == REFUSED:
            said = ending.fault or "The trainer does not say why: see trainer.log."
            return RunState.REFUSED, said
        case _ if ending.code == CANCELLED:
            return RunState.CANCELLED, (
                f"Stopped after step {ending.step}. The checkpoint is kept: resume goes on from it."
            )
        case _ if ending.cancelling and (ending.code < 0 or ending.forced):
            return RunState.CANCELLED, (
                "It did not stop by itself and was ended. Resume goes on from the last checkpoint "
                "before that."
            )
        case _ if ending.disk_is_full:
            return RunState.FAILED, (
                "The disk of the training folder is full. Make room, then resume: the last whole "
                "checkpoint is kept."
            )
        case _ if ending.code < 0:
            return RunState.FAILED, _killed(-ending.code)
    said = ending.fault or f"The trainer ended with status {ending.code}"
    return RunState.FAILED, (
        f"{said.rstrip('.')}. See trainer.log in the run's folder. Resume goes on from the last "
        "checkpoint."
    )


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = str(number)
    why = "; most often memory did not suffice" if number == signal.SIGKILL else ""
    return (
        f"The trainer was killed from outside ({name}{why}). Resume goes on from the last "
        "checkpoint; for less memory lower batch_tokens or max_length in a new run."
    )

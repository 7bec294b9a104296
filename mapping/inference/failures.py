"""How asking a model can fail. No message quotes what a server said."""

from typing import Literal, TypeAlias

from mapping.resolver.types import ChooserError

Outcome: TypeAlias = Literal[
    "ok", "timeout", "unreachable", "failed", "rubbish", "wrong_model", "busy", "open"
]


class InferenceError(ChooserError):
    """A ChooserError that says which way it failed.

    `counts`: whether it speaks against the server. A call of many questions that the server was
    answering when the time was over does not.
    """

    def __init__(self, outcome: Outcome, message: str, *, counts: bool = True) -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome
        self.counts = counts


def too_late(seconds: float, *, counts: bool = True) -> InferenceError:
    """The time budget is spent."""
    message = f"The model gave no answer within {seconds * 1000:.0f} ms."
    return InferenceError("timeout", message, counts=counts)


def unreachable() -> InferenceError:
    """No connection, or one that broke twice."""
    return InferenceError(
        "unreachable", "The model's server cannot be reached. Check that it runs at inference.url."
    )


def refused(status: int) -> InferenceError:
    """Any status but 200."""
    hint = " Check inference.api_key." if status in (401, 403) else ""
    return InferenceError("failed", f"The model's server answered with status {status}.{hint}")


def rubbish() -> InferenceError:
    """An answer that is not what was asked for."""
    return InferenceError("rubbish", "The model's server gave an answer that makes no sense.")


def another_model(what: str) -> InferenceError:
    """The server runs something else than it should. `what`: names from our own configuration."""
    return InferenceError("wrong_model", f"The server runs another model: it has no {what}.")


def no_place(places: int) -> InferenceError:
    """As many calls are under way as may be."""
    message = f"{places} calls of the model are under way already."
    return InferenceError("busy", message, counts=False)


def left_alone() -> InferenceError:
    """The circuit breaker is open."""
    return InferenceError("open", "The model's server is left alone for a while after failures.")

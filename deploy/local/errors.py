"""The one exception that reaches the person at the terminal."""

from pathlib import Path


class StackError(Exception):
    """Something a person can act on: one line that says what is wrong and what to do.

    `log` names the file to read, if there is one; its last lines are shown with the message.
    """

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

"""Errors of the change services. Their messages are for people."""

from collections.abc import Iterable


class ChangeError(Exception):
    """What was asked for is refused. The message says why and what to do."""


class StaleChangeSetError(ChangeError):
    """The change set, or the knowledge under it, is not what the person saw."""


class InvalidChangeSetError(ChangeError):
    """The knowledge as it would be after the change set breaks a rule."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

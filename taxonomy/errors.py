"""Errors of the knowledge services. Their messages are for people."""

from collections.abc import Iterable


class KnowledgeFileError(Exception):
    """The knowledge files cannot be loaded. Each problem names file, line or field, and remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class NoPlanError(LookupError):
    """There is no such migration plan. The message says which there are, and what to do."""


class NoReleaseError(LookupError):
    """There is no such release of the knowledge."""


class UnknownFrameworkError(LookupError):
    """The release in force has no crosswalk to a framework of that name."""

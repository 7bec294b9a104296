"""Errors of mapping's services. Their messages are for people."""


class MigrationError(Exception):
    """A migration cannot be done as it was asked for. The message says what to do instead."""


class UnknownEditionError(LookupError):
    """Answers cannot be given in this taxonomy edition. `known` are those in which they can."""

    def __init__(self, known: list[str]) -> None:
        self.known = known
        super().__init__(f"Name one of {', '.join(known)}.")

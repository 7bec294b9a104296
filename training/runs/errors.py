"""Why a run cannot be started, cancelled or resumed."""


class RunError(ValueError):
    """What was asked for is refused. Its text says what to do; `field` names what is at fault."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field  # profile, data_set or overrides; empty for none of them

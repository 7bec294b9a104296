"""What can go wrong with a report, in words for the person who asked for it."""


class ReportRequestError(ValueError):
    """A report cannot be asked for like that. `field` names the input that is to be corrected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class ReportBuildError(RuntimeError):
    """A report cannot be made. The text is shown to the person who asked for it."""


class UnknownFrameworkError(LookupError):
    """The knowledge in force has no such framework, or no crosswalk to it."""


class PdfUnavailableError(RuntimeError):
    """PDF cannot be made on this machine. The text says what is missing."""


class NotReadyError(RuntimeError):
    """The report is not finished."""


class NoSuchFileError(LookupError):
    """The report has no file in that format. The text says why, where that is known."""

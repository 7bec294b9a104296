"""Why a version cannot be served so."""


class ServingError(ValueError):
    """A choice that cannot be made. Its text says what to do."""


class NothingToDoError(ServingError):
    """What is asked for is so already."""


class NothingToRollBackError(ServingError):
    """No other version was live before."""

"""What the registry refuses. Every message says what to do."""


class RegistryError(Exception):
    """Something that cannot be done with a version of a model."""


class CorruptError(RegistryError):
    """Files that are not what they were, or never were a model."""


class ExistsError(RegistryError):
    """The version is there already: versions never change, so a further one is needed."""

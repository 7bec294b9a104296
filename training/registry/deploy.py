"""What promotion asks of a model's server: load a version under its own name, and take it away."""

from pathlib import Path
from typing import Protocol


class DeployError(Exception):
    """The server does not serve a version as it should. The message says what to do."""


class Deployer(Protocol):
    """One model's server. Every verb may be repeated: what is so already is no failure."""

    def deploy(self, version_folder: Path, name: str) -> None:
        """Load a version beside those that answer, under `name`. Raises DeployError."""
        ...

    def undeploy(self, name: str) -> None:
        """Take a version away. Raises DeployError; a name that is not loaded is no error."""
        ...

    def parity(self, name: str) -> None:
        """Whether `name` answers as the version that it is. Raises DeployError."""
        ...

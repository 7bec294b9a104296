"""Why a version cannot be registered, approved or promoted."""

from collections.abc import Sequence

from training.registry import RegistryError
from training.registry.gates import Gate


class VersionError(RegistryError):
    """A step that cannot be taken. Its text says what to do."""


class NothingToDoError(VersionError):
    """What is asked for is so already."""


class GatesError(VersionError):
    """A promotion that its gates block. `gates` holds them all."""

    def __init__(self, version: str, gates: Sequence[Gate]) -> None:
        self.gates = list(gates)
        failed = [gate for gate in gates if not gate.passed]
        lines = [f"{gate.name}: {gate.value} ({gate.limit}). {gate.text}" for gate in failed]
        head = f"{version} is not promoted. Gates that fail: {len(failed)}."
        super().__init__("\n".join([head, *lines]))

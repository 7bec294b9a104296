"""Names of versions: `mapper-lora@v1.2.3` for people, `mapper-lora-1.2.3` for servers and folders.

Versions follow Semantic Versioning 2.0 without pre-releases: major for another base model or
prompt, minor for other data or another profile, patch for the same with another seed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self

from training.registry.errors import RegistryError

DEFAULT_NAME: Final = "mapper-lora"
Part = Literal["major", "minor", "patch"]
_NAME: Final = r"[a-z][a-z0-9]*(?:-[a-z][a-z0-9]*)*"
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,5})"
_VERSION: Final = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_REFERENCE: Final = re.compile(rf"({_NAME})@v({_VERSION})", re.ASCII)
_SERVED: Final = re.compile(rf"({_NAME})-({_VERSION})", re.ASCII)
_MOST_CHARS: Final = 60


@dataclass(frozen=True, slots=True, order=True)
class ModelName:
    """A model's name and version. Sorts by name, then by version as numbers."""

    name: str
    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From either spelling. Raises RegistryError with an example."""
        found = _REFERENCE.fullmatch(text) or _SERVED.fullmatch(text)
        if found is None or len(found[1]) > _MOST_CHARS:
            raise RegistryError(
                f"{text[:80]!r} names no version of a model. Write it like mapper-lora@v1.2.3: "
                "small letters and hyphens, then three numbers without leading zeros."
            )
        major, minor, patch = map(int, found[2].split("."))
        return cls(found[1], major, minor, patch)

    @property
    def version(self) -> str:
        """1.2.3."""
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def served(self) -> str:
        """The adapter's name on servers and of its folder: mapper-lora-1.2.3."""
        return f"{self.name}-{self.version}"

    def __str__(self) -> str:
        return f"{self.name}@v{self.version}"


def next_version(
    known: Iterable[ModelName], name: str = DEFAULT_NAME, part: Part = "minor"
) -> ModelName:
    """The version after the highest known one of that name; 0.1.0 for the first."""
    of_name = [one for one in known if one.name == name]
    if not of_name:
        return ModelName.parse(f"{name}@v0.1.0")
    last = max(of_name)
    match part:
        case "major":
            return ModelName(name, last.major + 1, 0, 0)
        case "minor":
            return ModelName(name, last.major, last.minor + 1, 0)
        case "patch":
            return ModelName(name, last.major, last.minor, last.patch + 1)

"""A version of the model as it is served, and what is in force. Plain Python."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from mapping.resolver.calibrate import Calibrator, CalibratorError

_WORDS: Final = ("version", "adapter", "adapter_sha256", "base", "base_sha256")


class ServedModelError(ValueError):
    """A document that describes no version. The message says what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A version of the adapter, on its base, with the calibrator that was fitted for it."""

    version: str  # mapper-lora@v0.2.0
    adapter: str  # its name on the server: mapper-lora-0.2.0
    adapter_sha256: str  # of adapter_model.safetensors
    base: str  # the base model's name on the server
    base_sha256: str
    # None: this version of Pillars cannot read the one that was written; retrieval answers alone.
    calibrator: Calibrator | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From what `as_json` gave. Raises ServedModelError; CalibratorError for a calibrator."""
        return cls(**_words(document), calibrator=Calibrator.of(document.get("calibrator")))

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """The same for a row of the table: a calibrator that cannot be used becomes none."""
        try:
            return cls.of(document)
        except CalibratorError:
            return cls(**_words(document), calibrator=None)

    def as_json(self) -> dict[str, Any]:
        """For the table."""
        return asdict(self)


def _words(document: Mapping[str, Any]) -> dict[str, str]:
    found = {name: document.get(name) for name in _WORDS}
    for name, value in found.items():
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise ServedModelError(f"A served model needs a text {name!r}.")
    return {name: str(value) for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class Serving:
    """Who answers whom. Of pillars.yaml alone: number 0, nothing else set."""

    number: int = 0  # of the choice
    live: ServedModel | None = None  # None: as pillars.yaml says
    trial: ServedModel | None = None
    trial_tenants: frozenset[UUID] = frozenset()
    trial_share: float = 0.0  # of the labels, 0..1
    shadow: bool = False
    since: datetime | None = None
    by: str | None = None  # user:NAME or system:NAME
    reason: str = ""

    @property
    def answers_somebody(self) -> bool:
        """Whether the version on trial answers anybody."""
        return self.trial is not None and bool(self.trial_tenants or self.trial_share)

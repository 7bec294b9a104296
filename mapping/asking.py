"""Whether and how a tenant's unknown labels are put to the models, by the mode in force."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mapping.mode import mode_in_force
from mapping.resolver.settle import Verdict
from mapping.resolver.types import LabelQuestion
from mapping.resolvers import resolver_of
from tenants.selectors import TenantRef

# Distinct labels of one request: each takes milliseconds, and others wait for the same process.
# Those after them stay unknown, so people see them.
MOST_QUESTIONS: Final = 200


@dataclass(frozen=True, slots=True)
class ModelsInForce:
    """The models of a release, for one tenant's request. They are loaded when they are asked."""

    serial: int
    first: bool  # before the rules
    salt: str  # keeps this tenant's prompts apart in the model's server

    def versions(self, by: Collection[str]) -> tuple[str | None, str | None]:
        """Of model and calibrator. `by`: who answered an item's labels (see Finding.by)."""
        resolver = resolver_of(self.serial)
        return (None, None) if resolver is None else resolver.versions(with_model="model" in by)

    def resolve(self, questions: Sequence[LabelQuestion]) -> Mapping[LabelQuestion, Verdict]:
        """Verdicts; none where the models cannot be used. Never raises for a model that fails."""
        resolver = resolver_of(self.serial)
        if resolver is None:
            return {}
        return resolver.resolve(questions[:MOST_QUESTIONS], salt=self.salt)


def models_in_force(tenant: TenantRef, serial: int) -> ModelsInForce | None:
    """None while rules map alone."""
    mode = mode_in_force().mode
    if mode == "rules_only":
        return None
    return ModelsInForce(serial, mode == "model_first", str(tenant.id))

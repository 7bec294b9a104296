"""Whether and how a tenant's unknown labels are put to the models, by the mode in force."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mapping.mode import mode_in_force
from mapping.resolver.resolver import Resolver
from mapping.resolver.settle import METHODS, Verdict
from mapping.resolver.types import LabelQuestion
from mapping.resolvers import resolver_of
from tenants.selectors import TenantRef

# Methods of findings that the models have a part in.
BY_MODELS: Final = frozenset((*METHODS, "parent"))
METHODS_TOLD: Final = frozenset(METHODS)


@dataclass(frozen=True, slots=True)
class ModelsInForce:
    """The models of a release, for one tenant's request."""

    resolver: Resolver
    first: bool  # before the rules
    salt: str  # keeps this tenant's prompts apart in the model's server
    answered: set[str] = field(default_factory=set)  # methods of this request's verdicts

    def versions(self, methods: Collection[str]) -> tuple[str, str]:
        """Of model and calibrator. `methods`: of the findings of an item that they had a part in.

        Where those do not say whether the language model answered, the request's verdicts do.
        """
        told = self.answered if METHODS_TOLD.isdisjoint(methods) else methods
        return self.resolver.versions(with_model="model" in told)

    def resolve(self, questions: Sequence[LabelQuestion]) -> Mapping[LabelQuestion, Verdict]:
        """A verdict for each question. Never raises for a model that fails."""
        found = self.resolver.resolve(questions, salt=self.salt)
        self.answered.update(verdict.method for verdict in found.values())
        return found


def models_in_force(tenant: TenantRef, serial: int) -> ModelsInForce | None:
    """None while rules map alone, or if the models cannot be used."""
    mode = mode_in_force().mode
    resolver = None if mode == "rules_only" else resolver_of(serial)
    if resolver is None:
        return None
    return ModelsInForce(resolver, mode == "model_first", str(tenant.id))

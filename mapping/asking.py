"""Whether and how a tenant's unknown labels are put to the models, by the mode in force."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mapping.mode import mode_in_force
from mapping.resolver.settle import Verdict
from mapping.resolver.types import AnsweredBy, LabelQuestion
from mapping.resolvers import resolver_of
from mapping.serving import shadow
from mapping.serving.in_force import serving_in_force
from mapping.serving.routing import router
from mapping.serving.types import ServedModel, Serving
from tenants.selectors import TenantRef

# Distinct labels of one request: each takes milliseconds, and others wait for the same process.
# Those after them stay unknown, so people see them.
MOST_QUESTIONS: Final = 200


@dataclass(frozen=True, slots=True)
class ModelsInForce:
    """The models of a release, for one tenant's request. They are loaded when they are asked.

    `serving` is read once: the whole request is answered by what it says, whatever is promoted
    meanwhile.
    """

    serial: int
    first: bool  # before the rules
    tenant: TenantRef
    serving: Serving

    def resolve(self, questions: Sequence[LabelQuestion]) -> Mapping[LabelQuestion, Verdict]:
        """Verdicts; none where the models cannot be used. Never raises for a model that fails."""
        by_arm: dict[ServedModel | None, list[LabelQuestion]] = {}
        arm_of = router(self.serving, self.tenant.id)
        for question in questions[:MOST_QUESTIONS]:
            by_arm.setdefault(arm_of(question), []).append(question)
        found: dict[LabelQuestion, Verdict] = {}
        for served, several in by_arm.items():
            resolver = resolver_of(self.serial, served)
            if resolver is not None:
                # The tenant's id keeps its prompts apart in the model's server.
                found |= resolver.resolve(several, salt=str(self.tenant.id))
        if self.serving.shadow:
            shadow.offer(self.tenant, self.serial, self.serving, by_arm, found)
        return found


def models_in_force(tenant: TenantRef, serial: int) -> ModelsInForce | None:
    """None while rules map alone."""
    mode = mode_in_force().mode
    if mode == "rules_only":
        return None
    return ModelsInForce(serial, mode == "model_first", tenant, serving_in_force())


def versions_of(by: Collection[AnsweredBy]) -> tuple[str | None, str | None]:
    """Of model and calibrator, by who answered an item's labels.

    Where a language model had a part, answers of retrieval alone are not named beside it. Two
    versions of it, which happens while one is on trial, are both named.
    """
    several = {one for one in by if one.method == "model"} or set(by)
    models = sorted({one.model for one in several if one.model})
    calibrators = sorted({one.calibrator for one in several if one.calibrator})
    return " + ".join(models) or None, " + ".join(calibrators) or None

"""What was live before, by the rows."""

from typing import NamedTuple

from mapping.serving.models import ServingChoice, ServingKind
from mapping.serving.types import ServedModel
from tenants.context import public_context


class Before(NamedTuple):
    """A version that was live. None: that of pillars.yaml."""

    live: dict[str, object] | None

    @property
    def model(self) -> ServedModel | None:
        """The same as an object."""
        return None if self.live is None else ServedModel.read(self.live)


def live_before() -> Before | None:
    """What a rollback leads to; None if there is nothing.

    Each promotion stands on those before it, and a rollback takes the topmost away: after two
    promotions and two rollbacks the first version of all is live.
    """
    with public_context():
        rows = ServingChoice.objects.filter(
            kind__in=(ServingKind.PROMOTED, ServingKind.ROLLED_BACK)
        ).order_by("number")
        stack: list[dict[str, object] | None] = [None]
        for kind, live in rows.values_list("kind", "live"):
            if kind == ServingKind.PROMOTED:
                stack.append(live)
            else:
                stack.pop()
    return Before(stack[-2]) if len(stack) > 1 else None


def models_to_keep() -> list[ServedModel]:
    """What the model's server must have loaded: live, the one before it, the one on trial."""
    with public_context():
        last = ServingChoice.objects.order_by("-number").first()
    if last is None:
        return []
    before = live_before()
    found = [last.live, last.trial, before.live if before else None]
    kept = {one["adapter"]: ServedModel.read(one) for one in found if one is not None}
    return list(kept.values())

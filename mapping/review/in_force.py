"""The decisions of each tenant as the engine uses them, kept in this process.

How they are kept: mapping.slots.
"""

from mapping.engine import DecidedLabel, Decisions
from mapping.review.selectors import approved_decisions, newest_number
from mapping.slots import PerTenant
from tenants.context import HasSchema


def compiled_decisions() -> Decisions:
    """Those in force of the tenant that is active, from the database."""
    return Decisions(
        DecidedLabel(
            one.detector, one.detector_version, one.label, one.digest, tuple(one.canonical)
        )
        for one in approved_decisions()
    )


_in_force = PerTenant(newest_number, compiled_decisions)


def decisions_in_force(tenant: HasSchema) -> Decisions:
    """What the tenant's people decided, for Engine.map."""
    return _in_force.of(tenant)


def look_again(schema: str) -> None:
    """Let this process see a tenant's new decision at its next request."""
    _in_force.look_again(schema)


def forget_decisions() -> None:
    """Drop what this process has found."""
    _in_force.forget()

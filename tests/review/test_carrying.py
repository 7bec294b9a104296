"""Decisions when the taxonomy changes: carried by the plan, taken back as they were."""

from typing import Any

import pytest

from mapping import editions
from mapping.models import Direction, LabelDecision, MigrationRun, ReviewItem, RunState
from mapping.relabel import Outcome, Relabelling
from mapping.review import selectors
from mapping.review.carrying import carry_decisions
from mapping.review.in_force import compiled_decisions
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.review.conftest import Waiting
from tests.support.editions import NEW, OLD

PLAN = {"old": OLD, "new": NEW}
ACTOR = "user:tester"


@pytest.fixture
def tenant(acme: DemoTenant) -> Any:
    with tenant_context(acme.tenant):
        yield acme


def decided(number: int, label: str, *canonical: str, **more: Any) -> LabelDecision:
    """A decision made while the old edition was in force."""
    wanted = {"detector": "presidio", "taxonomy": OLD, "decided_by": "user:ann", **more}
    return LabelDecision.objects.create(
        number=number, label=label, canonical=list(canonical), **wanted
    )


def run(direction: str = Direction.APPLY) -> MigrationRun:
    made = editions.start_run(**PLAN, direction=direction, actor=ACTOR)
    return editions.carry_on(run_id=made.pk)


def means() -> dict[str | None, list[str]]:
    return {row.label: row.canonical for row in selectors.approved_decisions()}


def test_there_and_back_and_there_again(tenant: Any) -> None:
    decided(1, "CARD", "PII.Identifier.CreditCard")
    decided(2, "BOTH", "PROMPT_INJECTION.PolicyOverride", "PROMPT_INJECTION.Other")
    decided(3, "NOISE")
    decided(4, "NEWER", "PII.Financial.CreditCard", taxonomy=NEW)
    decided(5, "health_id", "PII.Health.HIPAA", detector="regex-pii")
    before = means()
    assert run().state == RunState.DONE
    after = {
        "CARD": ["PII.Financial.CreditCard"], "BOTH": ["PROMPT_INJECTION.Direct"], "NOISE": [],
        "NEWER": ["PII.Financial.CreditCard"], "health_id": ["PII.Health.RecordNumber"],
    }  # fmt: skip
    assert means() == after
    carried = selectors.approved_decisions().get(label="CARD")
    assert (carried.taxonomy, carried.decided_by, carried.carried_from) == (
        NEW, "system:migration", 1,
    )  # fmt: skip
    assert LabelDecision.objects.get(number=1).canonical == ["PII.Identifier.CreditCard"]

    run(Direction.INVERT)
    assert means() == {**before, "NEWER": ["PII.Identifier.CreditCard"]}
    run()
    assert means() == after
    assert run().state == RunState.DONE  # for late events: nothing of this is carried twice
    assert means() == after
    assert LabelDecision.objects.count() == 5 + 3 + 4 + 4


def test_a_label_without_successor_waits_again(tenant: Any, waiting: Waiting) -> None:
    (item,) = waiting(tenant, "BADGE_NO")
    decided(1, "BADGE_NO", "PII.Gone")
    ReviewItem.objects.update(state="decided")
    retired = Relabelling(OLD, NEW, {"PII.Gone": Outcome(None, True)}, {})
    there = MigrationRun.objects.create(
        old=OLD, new=NEW, plan_version="1", plan_sha256="0" * 64, direction=Direction.APPLY,
        batch_size=1, actor=ACTOR,
    )  # fmt: skip
    assert carry_decisions(there, retired) is False
    assert means() == {}
    assert compiled_decisions().find("presidio", None, "BADGE_NO") is None
    item.refresh_from_db()
    assert item.state == "open"
    MigrationRun.objects.update(state=RunState.DONE)
    back = MigrationRun.objects.create(
        old=OLD, new=NEW, plan_version="1", plan_sha256="0" * 64, direction=Direction.INVERT,
        batch_size=1, actor=ACTOR, undoes=there,
    )  # fmt: skip
    carry_decisions(back, Relabelling(NEW, OLD, {}, {}))
    assert means() == {"BADGE_NO": ["PII.Gone"]}
    item.refresh_from_db()
    assert item.state == "decided"

"""The steps that a page of a change set offers, as data: who may, when, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taxonomy.changes import publishing, services
from taxonomy.changes.forms import NoteForm, ReasonForm, StepForm
from taxonomy.changes.models import State

CHANGE, APPROVE = "change", "approve"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `permissions`: any of them is enough. `run` takes a form's data and the person."""

    name: str
    title: str
    states: tuple[State, ...]
    permissions: tuple[str, ...]
    form: type[StepForm]
    intro: str
    done: str
    run: Callable[[int, Any, Any], object]
    danger: bool = False
    for_others: bool = False  # not for those who wrote in it


STEPS = {
    step.name: step
    for step in (
        Step(
            "submit", "Submit for approval", (State.DRAFT,), (CHANGE,), StepForm,
            "Approvers are told by e-mail. Nothing can be changed until it is sent back.",
            "It waits for approval now.",
            lambda number, data, person: services.submit(
                number=number, editor=person, revision=data["revision"]
            ),
        ),
        Step(
            "refresh", "Bring up to date", (State.DRAFT,), (CHANGE,), StepForm,
            "What is in force now becomes the starting point of each edit; what you want stays as "
            "it is. Look at the differences again afterwards.",
            "It starts from what is in force now.",
            lambda number, data, person: services.refresh(
                number=number, editor=person, revision=data["revision"]
            ),
        ),
        Step(
            "approve", "Approve", (State.SUBMITTED,), (APPROVE,), NoteForm,
            "You confirm that the differences are right and may be published.",
            "You have approved it.",
            lambda number, data, person: services.approve(
                number=number, text=data["text"], approver=person, revision=data["revision"]
            ),
            for_others=True,
        ),
        Step(
            "send-back", "Send back", (State.SUBMITTED, State.APPROVED), (APPROVE, CHANGE),
            ReasonForm,
            "It becomes a draft again, and approvals given so far are void.",
            "It is a draft again.",
            lambda number, data, person: services.send_back(
                number=number, text=data["text"], person=person, revision=data["revision"]
            ),
        ),
        Step(
            "publish", "Publish now", (State.APPROVED,), (CHANGE, APPROVE), StepForm,
            "A new release comes into force at once, for every tenant that follows the newest "
            "release. Running processes see it within seconds.",
            "It is published.",
            lambda number, data, person: publishing.publish(
                number=number, person=person, revision=data["revision"]
            ),
        ),
        Step(
            "roll-back", "Roll back", (State.PUBLISHED,), (APPROVE,), ReasonForm,
            "A new release without these edits comes into force at once. Later change sets stay.",
            "It is rolled back.",
            lambda number, data, person: publishing.roll_back(
                number=number, reason=data["text"], person=person, revision=data["revision"]
            ),
            danger=True,
        ),
        Step(
            "withdraw", "Withdraw", (State.DRAFT, State.SUBMITTED, State.APPROVED), (CHANGE,),
            StepForm,
            "It is given up and stays in the record. What it touches is free for other change "
            "sets.",
            "It is withdrawn.",
            lambda number, data, person: services.withdraw(
                number=number, person=person, revision=data["revision"]
            ),
            danger=True,
        ),
    )
}  # fmt: skip

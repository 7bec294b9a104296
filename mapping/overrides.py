"""Verbs on a tenant's own thresholds: set one, take one away."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection, transaction

from audit.services import record
from mapping.engine import Knowledge, recordable_label
from mapping.engine.detectors import fold_name
from mapping.models import ThresholdOverride, ThresholdScope
from mapping.selectors import engine_in_force
from mapping.thresholds import look_again, newest_number
from tenants.context import require_tenant

_NAME = re.compile(r"[\w:+]+(-[\w:+]+)*")  # of a detector, folded


@dataclass(frozen=True, slots=True)
class _Active:
    """The active tenant, for whom its schema is enough."""

    schema_name: str


class ThresholdError(ValueError):
    """A threshold that cannot be set. Its text says what to do."""


@transaction.atomic
def set_threshold(
    *, scope: ThresholdScope, subject: str = "", value: float, actor: str, note: str = ""
) -> ThresholdOverride:
    """Set a threshold (0 to 1) of the active tenant. `subject`: a detector, or a label or branch.

    Raises ThresholdError for a value or subject that cannot be, or if it is so already.
    """
    if not 0 <= value <= 1:
        raise ThresholdError("A threshold is a probability. Give a number from 0 to 1.")
    subject = _subject(scope, subject)
    last = _locked(scope, subject)
    if last is not None and last.value == value:
        raise ThresholdError(f"It is {value:g} already. There is nothing to do.")
    return _choose(scope, subject, last, value, actor, note)


@transaction.atomic
def take_threshold_away(
    *, scope: ThresholdScope, subject: str = "", actor: str, note: str = ""
) -> ThresholdOverride:
    """Let what is less specific hold again (mapping.engine.thresholds). Raises ThresholdError."""
    last = _locked(scope, subject)
    if last is None or last.value is None:
        raise ThresholdError("This tenant has no such threshold by now. There is nothing to do.")
    return _choose(scope, subject, last, None, actor, note)


def knowledge_in_force() -> Knowledge:
    """What the active tenant's outputs are mapped by. Raises NoKnowledgeError."""
    return engine_in_force(_Active(require_tenant())).engine.knowledge


def branches(labels: Iterable[str]) -> list[str]:
    """Labels and the branches that they stand on, sorted."""
    found = set(labels)
    for label in labels:
        while label := label.rpartition(".")[0]:
            found.add(label)
    return sorted(found)


def _subject(scope: ThresholdScope, subject: str) -> str:
    """The subject as it is kept. Raises ThresholdError."""
    subject = subject.strip()
    if scope == ThresholdScope.TENANT:
        return ""
    if scope == ThresholdScope.BRANCH:
        if subject not in branches(knowledge_in_force().severities):
            raise ThresholdError("The taxonomy in force has no such label or branch. Choose one.")
        return subject
    name = fold_name(subject)
    if not recordable_label(subject) or not _NAME.fullmatch(name) or len(name) > 100:
        raise ThresholdError("This is no name of a detector. Write it as in events.")
    known = knowledge_in_force().find_detector(subject, None)
    return known.name if known is not None else name


def _locked(scope: ThresholdScope, subject: str) -> ThresholdOverride | None:
    """The last choice on it, held until the transaction ends: one at a time, reading goes on."""
    require_tenant()
    with connection.cursor() as cursor:
        table = ThresholdOverride._meta.db_table
        cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
    rows = ThresholdOverride.objects.filter(scope=scope, subject=subject)
    return rows.order_by("-number").first()


def _choose(
    scope: ThresholdScope,
    subject: str,
    last: ThresholdOverride | None,
    value: float | None,
    actor: str,
    note: str,
) -> ThresholdOverride:
    choice = ThresholdOverride.objects.create(
        number=newest_number() + 1,
        scope=scope,
        subject=subject,
        value=value,
        previous=last.value if last is not None else None,
        note=note.strip()[:300],
        made_by=actor[:200],
    )
    record(
        action="threshold.taken_away" if value is None else "threshold.set",
        actor=actor,
        target=f"{scope.value} {subject}".strip(),
        detail={"number": choice.number, "value": value, "from": choice.previous},
    )
    schema = require_tenant()
    transaction.on_commit(lambda: look_again(schema))
    return choice

"""What the pages of onboarding hand from step to step: signed, in the form, and nowhere else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from django.conf import settings
from django.core import signing
from django.db import transaction

from access.users.models import User
from mapping.engine.vocabulary import fold
from mapping.onboarding.drafting import UNDECIDED, Row, propose_rows
from mapping.onboarding.lists import VendorLabel
from mapping.onboarding.proposing import Proposals
from taxonomy.changes import services
from taxonomy.objects import ObjectKey, ObjectKind
from tenants.context import public_context

MAX_ROWS: Final = 1_000  # of one change set, so that a person can still review it
# Beside names of canonical labels, what can be chosen for a row; "" is undecided.
NOT_A_FINDING: Final = "=not_a_finding"
UNMAPPED: Final = "=unmapped"
LEAVE_OUT: Final = "=leave_out"
NEEDS_REASON: Final = (NOT_A_FINDING, UNMAPPED)
_SALT: Final = "mapping.onboarding"


class StateError(ValueError):
    """The form's state is not ours, or too old. The message says what to do."""


@dataclass(slots=True)
class Choice:
    """A row of the table: the vendor's label, and what a person has chosen so far."""

    label: str
    description: str = ""
    chosen: str = ""
    reason: str = ""

    def meaning(self) -> dict[str, Any] | None:
        """As in a detector file; None if the row is left out."""
        match self.chosen:
            case "=leave_out":
                return None
            case "=not_a_finding" | "=unmapped":
                found: dict[str, Any] = {self.chosen[1:]: self.reason}
            case "":
                found = {"unmapped": UNDECIDED}
            case canonical:
                found = {"canonical": canonical}
        if len(self.description) > 1:
            found["meaning"] = self.description[:200]
        return found


@dataclass(slots=True)
class Draft:
    """A detector on its way into a change set. `head`: its file without labels and version."""

    detector: str
    head: dict[str, Any] | None  # None: the detector exists, and only labels are added
    rows: list[Choice]
    notes: list[str] = field(default_factory=list)  # what was found and left out
    warnings: list[str] = field(default_factory=list)
    source: str = ""
    category: str = ""  # of the detector's file: what it looks for

    def signed(self) -> str:
        """As a text that nobody can change."""
        return signing.dumps(asdict(self), salt=_SALT, compress=True)

    @classmethod
    def restored(cls, text: str) -> Self:
        """From `signed`, made within the hours of a session. Raises StateError."""
        try:
            data = signing.loads(text, salt=_SALT, max_age=settings.SESSION_COOKIE_AGE)
        except signing.BadSignature:
            raise StateError(
                "The form was open for too long, or did not come from this site. Start again."
            ) from None
        return cls(**{**data, "rows": [Choice(**row) for row in data["rows"]]})

    def edits(self) -> dict[ObjectKey, dict[str, Any] | None]:
        """What the change set is to hold."""
        wanted: dict[ObjectKey, dict[str, Any] | None] = {}
        if self.head is not None:
            wanted[ObjectKey(ObjectKind.DETECTOR, self.detector, "")] = self.head
        for row in self.rows:
            meaning = row.meaning()
            if meaning is not None:
                wanted[ObjectKey(ObjectKind.DETECTOR_LABEL, self.detector, row.label)] = meaning
        return wanted


def rows_for(
    proposals: Proposals, labels: list[VendorLabel], *, detector: str, category: str
) -> list[Choice]:
    """A row for each label: first those to be decided, then those that retrieval has chosen."""
    rows = propose_rows(proposals, labels, detector=detector, category=category)
    rows.sort(key=_order)
    return [Choice(row.vendor.label, row.vendor.description, row.chosen or "") for row in rows]


def _order(row: Row) -> int:
    if row.chosen is None:
        return 0
    return 1 if row.proposals[0].reason == "retrieval" else 2


def known_labels(detector: Mapping[str, Any]) -> set[str]:
    """Folded spellings of all labels that a detector's file has."""
    entries = detector["labels"].items()
    return {fold(name) for label, entry in entries for name in (label, *entry.get("aliases", []))}


def put_into_change_set(
    *, draft: Draft, number: int | None, title: str, reason: str, author: User
) -> int:
    """Add the draft to a change set, or start one (`number` None): all or nothing.

    Returns the change set's number. Raises ChangeError.
    """
    with public_context(), transaction.atomic():
        if number is None:
            number = services.start(title=title, reason=reason, author=author).number
        services.edit_many(number=number, wanted=draft.edits(), editor=author)
    return number

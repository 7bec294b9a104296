"""Further releases of the knowledge, which differ from the shipped one in known ways."""

from typing import Any

from django.db import transaction

from taxonomy import loading
from taxonomy.editing import candidate
from taxonomy.models import FrameworkEdition, KnowledgeRelease
from taxonomy.objects import Difference, ObjectKey, ObjectKind, apply, objects, row_name
from taxonomy.selectors import current_documents, current_release

SSN = ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "US_SSN")
BADGE = ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "ZZ_BADGE")
ROW = ObjectKey(ObjectKind.CROSSWALK_ROW, "soc2@2017", row_name("PII", "CC6.7"))
EMAIL = ObjectKey(ObjectKind.LABEL, "", "PII.Contact.Email")
_BADGE = {"canonical": "PII.Identifier.NationalID"}


def second_release() -> tuple[int, int]:
    """(serial of the shipped release, serial of the new one).

    presidio's US_SSN is critical, its ZZ_BADGE is new, and soc2's row PII → CC6.7 has strength 9.
    """
    serial = release({SSN: {"severity": "critical"}, BADGE: _BADGE, ROW: {"strength": 9}})
    return serial - 1, serial


def third_release() -> int:
    """One more, with a new label ZZ_BADGE_TOO of presidio."""
    return release({BADGE._replace(name="ZZ_BADGE_TOO"): _BADGE})


@transaction.atomic
def release(changes: dict[ObjectKey, dict[str, Any]]) -> int:
    """Release the newest knowledge with some fields changed, or things added: the serial."""
    base = current_release()
    assert base is not None
    documents = current_documents()
    before = objects(documents)
    edits = [
        Difference(key, before.get(key), {**(before.get(key) or {}), **fields})
        for key, fields in changes.items()
    ]
    found = candidate(apply(documents, edits), base=base)
    frameworks: loading.Frameworks = {
        (row.framework, row.edition): row for row in found.rows if isinstance(row, FrameworkEdition)
    }
    made = [loading.create_edition(file, frameworks) for file in found.fresh]
    row = loading.create_release([*found.rows, *made], after=base, actor="system:tests")
    assert isinstance(row, KnowledgeRelease)
    return row.serial

"""Reports over events that a migration carried to another taxonomy edition."""

import csv
import io
from typing import Any

import pytest

from mapping import editions
from mapping.models import Direction
from tenants.context import tenant_context
from tests.reporting.conftest import MadeReport, event, made_report, store
from tests.support.editions import NEW, OLD, finding

pytestmark = pytest.mark.django_db
DAY = "2026-10-05T10:00:00"


@pytest.fixture(scope="module")
def report(lasting_tenant: Any) -> MadeReport:
    """Six events of the old edition, one of them with two labels that become one, and a new one."""

    def old(detector: str, *findings: tuple[str, str]) -> dict[str, Any]:
        labels = list(dict.fromkeys(label for _, label in findings))
        found = [finding(*names) for names in findings]
        return event(DAY, detector, labels, findings=found, taxonomy_version=OLD)

    store(
        lasting_tenant,
        old("presidio", ("CREDIT_CARD", "PII.Identifier.CreditCard")),
        old("presidio", ("CREDIT_CARD", "PII.Identifier.CreditCard")),
        event(DAY, "presidio", ["PII.Financial.CreditCard"]),
        old("rebuff", ("a", "PROMPT_INJECTION.PolicyOverride"), ("b", "PROMPT_INJECTION.Other")),
        old("openai-moderation", ("sexual", "HARM.VIOLENCE.Sexual")),
        old("presidio", ("EMAIL", "PII.Contact.Email")),
        event(DAY, "nobody", ["OTHER.Unknown"], decision="fallback", taxonomy_version=OLD),
    )
    with tenant_context(lasting_tenant):
        run = editions.start_run(old=OLD, new=NEW, direction=Direction.APPLY, actor="user:x")
        editions.carry_on(run_id=run.pk)
    return made_report(lasting_tenant, "soc2", "2026-10-01", "2026-10-31")


def test_events_count_once_by_the_label_shown(report: MadeReport) -> None:
    document = report.document
    assert document["summary"]["events"] == 7
    assert document["totals"]["by_outcome"]["unknown"] == 1
    labels = {row["label"]: row for c in document["controls"] for row in c["labels"]}
    assert labels["PII.Financial.CreditCard"]["events"] == 3
    assert labels["PROMPT_INJECTION.Direct"]["events"] == 1
    assert "PII.Identifier.CreditCard" not in labels
    for control in document["controls"]:
        for row in control["labels"]:
            assert row["events"] <= control["events"]


def test_lineage_has_both_labels(report: MadeReport) -> None:
    lineage = {(row["given"], row["became"]): row for row in report.document["lineage"]}
    assert {pair: row["events"] for pair, row in lineage.items()} == {
        ("PII.Identifier.CreditCard", "PII.Financial.CreditCard"): 2,
        ("PROMPT_INJECTION.PolicyOverride", "PROMPT_INJECTION.Direct"): 1,
        ("PROMPT_INJECTION.Other", "PROMPT_INJECTION.Direct"): 1,
        ("HARM.VIOLENCE.Sexual", "HARM.SEXUAL.Adult"): 1,
        ("PII.Contact.Email", "PII.Contact.Email"): 1,
        ("OTHER.Unknown", "OTHER.Unknown"): 1,
    }
    for row in lineage.values():
        assert (row["given_taxonomy"], row["taxonomy"], row["plan"]) == (OLD, NEW, "2026.11.1")


def test_a_label_says_where_its_events_came_from(report: MadeReport) -> None:
    control = next(
        c for c in report.document["controls"]
        if any(row["label"] == "PII.Financial.CreditCard" for row in c["labels"])
    )  # fmt: skip
    row = next(row for row in control["labels"] if row["label"] == "PII.Financial.CreditCard")
    origin = {"label": "PII.Identifier.CreditCard", "taxonomy": OLD, "events": 2}
    assert row["migrated_from"] == [origin]
    rows = csv.DictReader(io.StringIO(report.files["csv"].decode("utf-8-sig")))
    line = next(line for line in rows if line["code"] == control["code"])
    assert "PII.Financial.CreditCard<PII.Identifier.CreditCard@2025.09=2" in line["migrated_from"]


def test_a_note_says_so(report: MadeReport) -> None:
    notes = {note["code"]: note["text"] for note in report.document["notes"]}
    assert notes["labels_migrated"].startswith("6 events were given labels of taxonomy 2025.09")
    assert "labels_not_in_taxonomy" not in notes


def test_the_page_lists_them(report: MadeReport) -> None:
    from django.template.loader import render_to_string

    from reporting.render_pdf import _context

    html = render_to_string(
        "reporting/report.html", _context(report.document, report.files["json"], b"")
    )
    assert "Migrated labels" in html
    assert "HARM.VIOLENCE.Sexual" in html


def test_the_document_follows_its_schema(report: MadeReport) -> None:
    import json
    from pathlib import Path

    from jsonschema import Draft202012Validator

    import reporting

    schema = json.loads((Path(reporting.__file__).parent / "report.schema.json").read_text())
    Draft202012Validator(schema).validate(report.document)

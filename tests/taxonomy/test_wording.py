"""Differences as people read them."""

import json
from pathlib import Path

from django.conf import settings
from django.template.loader import render_to_string

from taxonomy.documents import read_documents
from taxonomy.objects import Difference, ObjectKey, ObjectKind, compare
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.wording import FieldChange, Happened, as_json, present

EMAIL = ObjectKey(ObjectKind.LABEL, "", "PII.Contact.Email")
SSN = ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "US_SSN")
SOC2 = ObjectKey(ObjectKind.FRAMEWORK, "soc2@2017", "")
BEFORE = {"meaning": "An address.", "severity": "low", "aliases": ["email", "e-mail"]}


def of_files(edition: str) -> KnowledgeDocuments:
    """The shipped files with one edition of the taxonomy."""
    found = read_documents(Path(settings.KNOWLEDGE_DIR))

    def of(kind: str) -> list[dict]:
        return [one.data for one in found if one.kind == kind]

    taxonomy = next(data for data in of("taxonomy") if data["edition"] == edition)
    return KnowledgeDocuments(1, taxonomy, of("detector"), of("framework"), of("crosswalk"))


def test_a_change_names_only_the_fields_that_differ() -> None:
    after = {**BEFORE, "severity": "high", "boundary": "A name is PII.Person.Name."}
    (group,) = present([Difference(EMAIL, BEFORE, after)])
    (change,) = group.changes
    assert change.happened == Happened.CHANGED
    assert change.fields == (
        FieldChange("Severity", "low", "high"),
        FieldChange("Boundary", None, "A name is PII.Person.Name."),
    )
    assert change.sentence == "Label PII.Contact.Email changed: severity, boundary."
    assert (group.title, group.counts) == ("Labels of the taxonomy", "1 changed")


def test_groups_come_in_the_order_of_kinds_with_counts_of_all() -> None:
    detector_labels = [
        Difference(SSN._replace(name=f"L{number}"), None, {"canonical": "PII.Person.Age"})
        for number in range(7)
    ]
    gone = Difference(EMAIL, BEFORE, None)
    groups = present([*detector_labels, gone], most=3)
    assert [group.kind for group in groups] == [ObjectKind.LABEL, ObjectKind.DETECTOR_LABEL]
    assert groups[0].counts == "1 removed"
    assert (groups[1].added, len(groups[1].changes), groups[1].left_off) == (7, 3, 4)
    assert present([*detector_labels, gone], most=None)[1].left_off == 0
    assert groups[1].changes[0].sentence == "Detector label presidio: L0 added."


def test_entries_of_a_list_are_told_apart_by_their_name() -> None:
    def framework(title: str) -> dict:
        controls = [{"code": "CC1.1", "title": "One"}, {"code": "CC1.2", "title": title}]
        return {"controls": controls, "licence": {"holder": "AICPA"}, "complete": True}

    (group,) = present([Difference(SOC2, framework("Two"), framework("Three"))])
    assert group.changes[0].fields == (FieldChange("Controls: CC1.2: title", "Two", "Three"),)


def test_long_values_and_many_fields_are_cut_and_said_to_be() -> None:
    after = {f"f{number}": "x" * 1_000 for number in range(20)}
    (group,) = present([Difference(EMAIL, None, after)])
    (change,) = group.changes
    assert (len(change.fields), change.fields_left_off) == (12, 8)
    assert change.fields[0].after == "x" * 399 + "…"
    longer = {name: f"{value}y" for name, value in after.items()}
    assert present([Difference(EMAIL, after, longer)])[0].changes[0].fields_left_off == 8
    page = render_to_string("taxonomy/difference.html", {"groups": [group]})
    assert "and 8 more fields" in page


def test_the_page_escapes_and_says_what_it_left_off() -> None:
    many = [
        Difference(EMAIL._replace(name=f"A.B{n:03}"), None, {"meaning": "<b>"}) for n in range(60)
    ]
    page = render_to_string(
        "taxonomy/difference.html", {"groups": present(many), "whole_url": "?download=json"}
    )
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "And 10 more, which stand in the download" in page
    assert "A.B049" in page
    assert "A.B050" not in page


def test_the_shipped_editions_can_be_read_against_each_other() -> None:
    differences = compare(of_files("2025.09"), of_files("2026.11"))
    (group,) = present(differences, most=None)
    assert group.added + group.removed + group.changed == len(differences) > 35
    assert all(change.fields for change in group.changes)
    written = json.loads(json.dumps(as_json(differences)))
    assert len(written) == len(differences)
    assert written[0]["kind"] == "label"
    assert present([]) == []

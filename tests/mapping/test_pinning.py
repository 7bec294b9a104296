"""Callers that pin an earlier taxonomy edition are answered in its labels."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings

from mapping.earlier import in_edition
from mapping.models import MappingEvent
from mapping.selectors import engine_in_force, forget_engine
from taxonomy import selectors as knowledge
from taxonomy.documents import read_plan
from taxonomy.migration import MigrationPlan, WayBack
from tenants.context import public_context, tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Send = Callable[..., Any]
CARD = {"detector": "presidio", "output": [{"entity_type": "CREDIT_CARD", "score": 0.9}]}
PERSON = {"detector": "presidio", "output": [{"entity_type": "PERSON", "score": 0.7}]}
SAFE = {"detector": "presidio", "output": []}


def test_without_a_pin_nothing_changes(send: Send) -> None:
    answer = send(CARD)
    assert answer["taxonomy"] == ["PII.Financial.CreditCard"]
    assert answer["version_info"]["taxonomy"] == "2026.11"
    assert "2026.11" not in (answer["notes"] or "")


def test_the_edition_in_force_may_be_named(send: Send) -> None:
    plain, pinned = send(CARD), send({**CARD, "taxonomy": "2026.11"})
    for name in ("taxonomy", "scores", "findings", "controls", "notes", "version_info"):
        assert plain[name] == pinned[name]


def test_an_old_label_is_answered_and_the_new_one_stored(send: Send, acme: DemoTenant) -> None:
    plain, answer = send(CARD), send({**CARD, "taxonomy": "2025.09"})
    assert answer["taxonomy"] == ["PII.Identifier.CreditCard"]
    assert answer["scores"] == {"PII.Identifier.CreditCard": 0.9}
    assert [finding["canonical"] for finding in answer["findings"]] == ["PII.Identifier.CreditCard"]
    assert answer["version_info"]["taxonomy"] == "2025.09"
    assert answer["controls"] == plain["controls"]
    assert answer["notes"].startswith("labels of taxonomy 2025.09, mapped under 2026.11; ")
    assert "nearest" not in answer["notes"]
    with tenant_context(acme.tenant):
        event = MappingEvent.objects.get(pk=answer["event_id"])
    assert event.labels == ["PII.Financial.CreditCard"]
    assert event.findings[0]["canonical"] == "PII.Financial.CreditCard"
    assert event.taxonomy_version == "2026.11"


def test_a_label_without_an_exact_way_back_is_said(send: Send) -> None:
    answer = send({**PERSON, "taxonomy": "2025.09"})
    assert answer["taxonomy"] == ["PII.Other"]
    assert "1 of them nearest labels" in answer["notes"]


def test_nothing_found_stays_a_decision(send: Send) -> None:
    answer = send({**SAFE, "taxonomy": "2025.09"})
    assert (answer["decision"], answer["taxonomy"]) == ("safe", ["OTHER.Unknown"])


@pytest.mark.parametrize("edition", ["2024.01", "2026.12"])
def test_an_unknown_edition_is_refused_with_those_that_there_are(send: Send, edition: str) -> None:
    problem = send({**CARD, "taxonomy": edition})
    assert (problem["status"], problem["code"]) == (422, "validation_failed")
    assert problem["errors"] == [
        {"pointer": "/taxonomy", "detail": "Name one of 2025.09, 2026.11."}
    ]


@pytest.mark.parametrize("edition", ["", "newest", "2025.9", 2025.09])
def test_what_is_no_edition_is_refused(send: Send, edition: Any) -> None:
    problem = send({**CARD, "taxonomy": edition})
    assert problem["errors"][0]["pointer"] == "/taxonomy"


def test_items_of_a_batch_pin_each_for_itself(
    api: Callable[..., Any], acme: DemoTenant, valid: Callable[[Any], Any]
) -> None:
    items = [CARD, {**CARD, "taxonomy": "2025.09"}, {**CARD, "taxonomy": "1999.01"}]
    answer = api("POST", "/map/batch", acme.key, json={"requests": items}).json()
    first, second, third = answer["results"]
    assert valid(first)["taxonomy"] == ["PII.Financial.CreditCard"]
    assert valid(second)["taxonomy"] == ["PII.Identifier.CreditCard"]
    assert third is None
    assert [error["index"] for error in answer["errors"]] == [2]


def test_labels_that_become_one_stand_once_with_the_higher_score() -> None:
    back = WayBack("1", "2", {"A.X": "A.O", "A.Y": "A.O"}, frozenset())
    finding = {"canonical": "A.Y", "count": 1}
    response = {
        "taxonomy": ("A.X", "A.Y"), "scores": {"A.X": 0.9, "A.Y": 0.2}, "findings": [finding],
        "notes": None, "version_info": {"taxonomy": "2", "model": None},
    }  # fmt: skip
    answer = in_edition(response, back)
    assert (answer["taxonomy"], answer["scores"]) == (["A.O"], {"A.O": 0.9})
    assert "2 of them nearest labels" in answer["notes"]
    assert finding == {"canonical": "A.Y", "count": 1}  # it is the event's too
    assert response["version_info"] == {"taxonomy": "2", "model": None}


class TestTheWayBack:
    def test_names_every_label(self) -> None:
        back = engine_in_force().ways_back["2025.09"]
        with public_context():
            old, new = knowledge.labels_of("2025.09"), knowledge.labels_of("2026.11")
        assert set(back.labels) == set(new)
        assert set(back.labels.values()) <= set(old)
        assert all(back.labels[label] in old for label in back.exact)

    @pytest.mark.parametrize(
        ("label", "old", "exact"),
        [
            ("PII.Contact.Email", "PII.Contact.Email", True),
            ("HARM.SPEECH.Profanity", "HARM.SPEECH.Obscenity", True),
            ("HARM.VIOLENCE.Graphic", "HARM.VIOLENCE.Physical", True),
            ("HARM.VIOLENCE.Physical", "HARM.VIOLENCE.Physical", False),  # a merge: same name
            ("PROMPT_INJECTION.Direct", "PROMPT_INJECTION.Other", False),  # a merge: the general
            ("PII.Person.Name", "PII.Other", False),  # new: the branch's general one
            ("OTHER.Safe", "OTHER.Unknown", False),
        ],
    )
    def test_of_one(self, label: str, old: str, exact: bool) -> None:
        back = engine_in_force().ways_back["2025.09"]
        assert (back.labels[label], label in back.exact) == (old, exact)

    def test_through_an_edition_between(self) -> None:
        later = WayBack("b", "c", {"C.X": "B.X", "C.Y": "B.Y"}, frozenset({"C.X", "C.Y"}))
        earlier = WayBack("a", "b", {"B.X": "A.X", "B.Y": "A.X"}, frozenset({"B.X"}))
        way = later.then(earlier)
        assert (way.old, way.new) == ("a", "c")
        assert way.labels == {"C.X": "A.X", "C.Y": "A.X"}
        assert way.exact == {"C.X"}

    def test_of_a_retired_label_is_its_own_name_if_it_comes_again(self) -> None:
        plan = MigrationPlan.from_document(
            {"from": "2001.01", "to": "2002.01", "version": "2002.01.1", "steps": [
                {"label": "X.A", "retire": "Nobody ever used this label."},
            ]}
        )  # fmt: skip
        back = plan.way_back(old=["X.A", "OTHER.Unknown"], new=["X.A", "Y.B"])
        assert back.labels == {"X.A": "X.A", "Y.B": "OTHER.Unknown"}
        assert back.exact == frozenset()


def test_a_newly_loaded_plan_is_seen_without_a_new_release(monkeypatch: Any) -> None:
    from mapping import engines
    from taxonomy.models import MigrationPlanEdition

    monkeypatch.setattr(engines, "_REFRESH_SECONDS", 0.0)
    forget_engine()
    try:
        assert set(engine_in_force().ways_back) == {"2025.09"}
        path = settings.KNOWLEDGE_DIR / "migrations" / "2025.09-2026.11.yaml"
        data = {**read_plan(path).data, "version": "2026.11.2"}
        data["steps"] = [
            {**step, "rename": "PII.Financial.Other"} if "CreditCard" in step["label"] else step
            for step in data["steps"]
        ]
        MigrationPlanEdition.objects.create(
            old="2025.09", new="2026.11", version="2026.11.2", document=data, sha256="1" * 64
        )
        back = engine_in_force().ways_back["2025.09"]
        assert back.labels["PII.Financial.Other"] == "PII.Identifier.CreditCard"
    finally:
        forget_engine()

"""Decisions: what they say, when they are in force, who is refused, and how they are undone."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from audit.models import AuditEntry
from mapping import slots
from mapping.models import LabelDecision, MappingEvent, ReviewItem
from mapping.review import in_force, selectors, services
from mapping.review.in_force import decisions_in_force, forget_decisions
from mapping.review.services import NoItemError, ReviewError
from mapping.review.sweep import sweep
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.review.conftest import Waiting
from tests.support.reviews import event, finding, keep
from tests.support.threads import together

ANN = "user:ann"
OTHER, EMAIL = "PII.Identifier.Other", "PII.Contact.Email"
Capture = Callable[..., Any]


def decide(tenant: DemoTenant, *items: ReviewItem, **more: Any) -> list[LabelDecision]:
    with tenant_context(tenant.tenant):
        wanted: dict[str, Any] = {"canonical": [OTHER], "actor": ANN, **more}
        return services.decide(items=[item.pk for item in items], **wanted)


def state(tenant: DemoTenant, item: ReviewItem) -> str:
    with tenant_context(tenant.tenant):
        return ReviewItem.objects.get(pk=item.pk).state


class TestInForce:
    def test_at_once_for_map_batch_and_the_event(
        self, api: Any, acme: DemoTenant, globex: DemoTenant, waiting: Waiting,
        django_capture_on_commit_callbacks: Capture,
    ) -> None:  # fmt: skip
        item = {"detector": "presidio", "output": ["BADGE_NO"]}
        before = api("POST", "/map", acme.key, json=item).json()
        assert before["findings"][0]["method"] == "none"
        (badge,) = waiting(acme, "BADGE_NO")
        with django_capture_on_commit_callbacks(execute=True):
            decide(acme, badge, canonical=[OTHER, EMAIL])
        after = api("POST", "/map", acme.key, json=item).json()
        assert (after["decision"], after["taxonomy"]) == ("mapped", [OTHER, EMAIL])
        assert {(f["method"], f["confidence"]) for f in after["findings"]} == {("decision", 1.0)}
        batch = api("POST", "/map/batch", acme.key, json={"requests": [item, item]}).json()
        assert [one["taxonomy"] for one in batch["results"]] == [[OTHER, EMAIL]] * 2
        with tenant_context(acme.tenant):
            row = MappingEvent.objects.get(pk=after["event_id"])
        assert [f["method"] for f in row.findings] == ["decision", "decision"]
        other = api("POST", "/map", globex.key, json=item).json()
        assert other["taxonomy"] == ["OTHER.Unknown"]

    def test_in_another_process_after_a_while_in_one_query(
        self, acme: DemoTenant, waiting: Waiting, monkeypatch: pytest.MonkeyPatch,
        django_assert_num_queries: Any,
    ) -> None:  # fmt: skip
        """Another process is not told: it asks for the last number, and no more if that stands."""
        here = decisions_in_force(acme.tenant)
        assert here.find("presidio", None, "BADGE_NO") is None
        decide(acme, *waiting(acme, "BADGE_NO"))  # the test's transaction commits nothing
        assert decisions_in_force(acme.tenant) is here
        monkeypatch.setattr(slots, "_REFRESH_SECONDS", 0.0)
        found = decisions_in_force(acme.tenant)
        assert found.find("presidio", None, "BADGE_NO") == (OTHER,)
        asked: list[str] = []
        with connection.execute_wrapper(
            lambda run, sql, *more: (asked.append(sql), run(sql, *more))[1]
        ):
            assert decisions_in_force(acme.tenant) is found
        assert len([sql for sql in asked if "SELECT" in sql]) == 1

    def test_while_the_database_is_away(
        self, acme: DemoTenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*args: Any) -> Any:
            raise DatabaseError("away")

        known = decisions_in_force(acme.tenant)
        monkeypatch.setattr(slots, "_REFRESH_SECONDS", 0.0)
        with connection.execute_wrapper(away):
            assert decisions_in_force(acme.tenant) is known
            forget_decisions()
            with pytest.raises(DatabaseError):
                decisions_in_force(acme.tenant)

    def test_a_label_of_the_queue_is_decided_and_later_events_do_not_open_it(
        self, acme: DemoTenant, waiting: Waiting
    ) -> None:
        (badge,) = waiting(acme, "BADGE_NO")
        decide(acme, badge)
        assert state(acme, badge) == "decided"
        with tenant_context(acme.tenant):
            keep(event(finding("BADGE_NO")), event(finding("BADGE_NO"), detector_version="3"))
            sweep()
            rows = list(ReviewItem.objects.filter(label="BADGE_NO").values_list("state", "events"))
        assert sorted(rows) == [("decided", 1), ("decided", 2)]


class TestDeciding:
    def test_any_version_or_the_one(self, acme: DemoTenant, waiting: Waiting) -> None:
        (two,) = waiting(acme, "BADGE_NO", detector_version="2")
        with tenant_context(acme.tenant):
            keep(event(finding("BADGE_NO"), detector_version="3"))
            sweep()
            three = ReviewItem.objects.get(detector_version="3")
        decide(acme, two, any_version=False)
        assert (state(acme, two), state(acme, three)) == ("decided", "open")
        (made,) = decide(acme, three)
        assert made.detector_version is None
        assert (state(acme, two), state(acme, three)) == ("decided", "decided")

    def test_several_items_at_once_in_one_audited_step(
        self, acme: DemoTenant, waiting: Waiting
    ) -> None:
        items = waiting(acme, "BADGE_NO", "STAFF_NO")
        made = decide(acme, *items, not_a_finding=True, canonical=[], note="  noise ")
        assert [one.number for one in made] == [made[0].number, made[0].number + 1]
        assert {(one.meaning, one.note, one.decided_by) for one in made} == {
            ("not a finding", "noise", ANN)
        }
        with tenant_context(acme.tenant):
            trail = AuditEntry.objects.filter(action="label.decided")
            assert {(one.actor, one.target) for one in trail} == {
                (ANN, "presidio: BADGE_NO"), (ANN, "presidio: STAFF_NO"),
            }  # fmt: skip

    def test_another_spelling_is_decided_with_it(self, acme: DemoTenant, waiting: Waiting) -> None:
        one, other = waiting(acme, "BADGE_NO", "badge-no")
        decide(acme, one)
        assert state(acme, other) == "decided"
        with pytest.raises(ReviewError, match="decided meanwhile"):
            decide(acme, other, canonical=[EMAIL])
        decide(acme, other, canonical=[EMAIL], replaces=0)
        with tenant_context(acme.tenant):
            found = in_force.compiled_decisions()
        assert found.find("presidio", None, "badge-no") == (EMAIL,)
        assert found.find("presidio", None, "BADGE_NO") == (OTHER,)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"canonical": []}, "at least one label"),
            ({"not_a_finding": True}, "not both"),
            ({"canonical": ["PII.No.Such"]}, "PII.No.Such: no label of taxonomy 2026.11"),
            ({"canonical": ["OTHER.Unknown"]}, "OTHER.Unknown: no label"),
            ({"canonical": ["OTHER.Safe", OTHER]}, "OTHER.Safe: no label"),
            ({"canonical": [f"X.{n}" for n in range(9)]}, "at most 8"),
        ],
    )
    def test_what_is_refused(
        self, acme: DemoTenant, waiting: Waiting, wrong: dict[str, Any], said: str
    ) -> None:
        (badge,) = waiting(acme, "BADGE_NO")
        with pytest.raises(ReviewError, match=said):
            decide(acme, badge, **wrong)
        assert state(acme, badge) == "open"

    def test_items_of_another_tenant_or_of_nobody(
        self, acme: DemoTenant, globex: DemoTenant, waiting: Waiting
    ) -> None:
        (badge,) = waiting(acme, "BADGE_NO")
        with pytest.raises(NoItemError):
            decide(globex, badge)
        with pytest.raises(ReviewError, match="Choose 1 to 200"):
            decide(acme)
        with tenant_context(acme.tenant):
            rest = ReviewItem.objects.create(
                detector="presidio", reason="fallback", events=5, first_seen=badge.first_seen,
                last_seen=badge.last_seen, lowest_confidence=0, last_confidence=0, release=1,
            )  # fmt: skip
        with pytest.raises(NoItemError):
            decide(acme, rest)

    def test_nobody_overwrites_what_they_have_not_seen(
        self, acme: DemoTenant, waiting: Waiting
    ) -> None:
        (badge,) = waiting(acme, "BADGE_NO")
        (first,) = decide(acme, badge)
        for seen in (None, 0, first.number + 1):
            with pytest.raises(ReviewError, match="decided meanwhile"):
                decide(acme, badge, canonical=[EMAIL], replaces=seen)
        (second,) = decide(acme, badge, canonical=[EMAIL], replaces=first.number)
        with tenant_context(acme.tenant):
            assert list(selectors.approved_decisions()) == [second]
            assert not selectors.in_force(first)

    def test_the_rows_stay_as_they_are(self, acme: DemoTenant, waiting: Waiting) -> None:
        (made,) = decide(acme, *waiting(acme, "BADGE_NO"))
        for sql in ("UPDATE mapping_labeldecision SET withdrawn = true",
                    "DELETE FROM mapping_labeldecision"):  # fmt: skip
            with (
                tenant_context(acme.tenant),
                connection.cursor() as cursor,
                pytest.raises(DatabaseError, match="Cannot update or delete"),
                transaction.atomic(),
            ):
                cursor.execute(sql)
        with tenant_context(acme.tenant):
            assert list(selectors.approved_decisions()) == [made]

    def test_at_the_same_time(self, spare: DemoTenant, waiting: Waiting) -> None:
        labels = [f"AT_ONCE_{n}" for n in range(6)]
        items = waiting(spare, *labels)
        made = together([lambda item=item: decide(spare, item)[0].number for item in items])
        assert len(set(made)) == 6
        assert {state(spare, item) for item in items} == {"decided"}
        for number, item in zip(made, items, strict=True):
            _withdraw_committed(spare, number)
            assert state(spare, item) == "open"


def _withdraw_committed(tenant: DemoTenant, number: int) -> None:
    with tenant_context(tenant.tenant):
        row = LabelDecision.objects.get(number=number)
        services.withdraw(decision=row.pk, actor=ANN)


class TestUndoing:
    def test_a_withdrawn_decision_is_no_more_and_the_label_waits_again(
        self, api: Any, acme: DemoTenant, waiting: Waiting,
        django_capture_on_commit_callbacks: Capture,
    ) -> None:  # fmt: skip
        (badge,) = waiting(acme, "BADGE_NO")
        (made,) = decide(acme, badge)
        with django_capture_on_commit_callbacks(execute=True), tenant_context(acme.tenant):
            services.withdraw(decision=made.pk, note="too soon", actor="user:ben")
        assert state(acme, badge) == "open"
        answer = api(
            "POST", "/map", acme.key, json={"detector": "presidio", "output": ["BADGE_NO"]}
        )
        assert answer.json()["taxonomy"] == ["OTHER.Unknown"]
        with tenant_context(acme.tenant):
            assert list(selectors.approved_decisions()) == []
            entry = AuditEntry.objects.get(action="label.decision_withdrawn")
            with pytest.raises(ReviewError, match="not in force any more"):
                services.withdraw(decision=made.pk, actor=ANN)
            with pytest.raises(NoItemError):
                services.withdraw(decision=badge.pk, actor=ANN)
        assert (entry.actor, entry.detail["canonical"]) == ("user:ben", [OTHER])
        (again,) = decide(acme, badge, canonical=[EMAIL])
        with tenant_context(acme.tenant):
            assert list(selectors.approved_decisions()) == [again]

    def test_dismissed_and_reopened(self, acme: DemoTenant, waiting: Waiting) -> None:
        (badge,) = waiting(acme, "BADGE_NO")
        with tenant_context(acme.tenant):
            services.dismiss(items=[badge.pk], actor=ANN)
            with pytest.raises(ReviewError, match="is dismissed by now"):
                services.dismiss(items=[badge.pk], actor=ANN)
            keep(event(finding("BADGE_NO")))
            sweep()
            row = ReviewItem.objects.get(pk=badge.pk)
            assert (row.state, row.events) == ("dismissed", 2)
            services.reopen(items=[badge.pk], actor=ANN)
            assert state(acme, badge) == "open"
            services.dismiss(items=[badge.pk], actor=ANN)
        decide(acme, badge)
        assert state(acme, badge) == "decided"


class TestTheExport:
    def test_one_line_for_each_label_that_may_be_recorded(
        self, acme: DemoTenant, waiting: Waiting
    ) -> None:
        badge, noise, gone = waiting(acme, "BADGE_NO", "NOISE", "GONE", detector_version="2")
        decide(acme, badge, canonical=[OTHER, EMAIL], any_version=False)
        decide(acme, noise, canonical=[], not_a_finding=True)
        (made,) = decide(acme, gone)
        with tenant_context(acme.tenant):
            services.withdraw(decision=made.pk, actor=ANN)
            keep(event(finding(None, source_digest="d" * 32)))
            sweep()
            text = ReviewItem.objects.get(digest="d" * 32)
        decide(acme, text)
        out = StringIO()
        call_command("export_decisions", tenant="acme", stdout=out)
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        base = {"detector": "presidio", "version": "2", "label": "BADGE_NO"}
        assert lines == [
            {**base, "canonical": OTHER}, {**base, "canonical": EMAIL},
            {"detector": "presidio", "version": None, "label": "NOISE", "canonical": None},
        ]  # fmt: skip

    def test_an_unknown_tenant(self, db: None) -> None:
        with pytest.raises(CommandError, match="no tenant nobody"):
            call_command("export_decisions", tenant="nobody")


def test_the_queue_goes_round(acme: DemoTenant, waiting: Waiting) -> None:
    one, two, three = waiting(acme, "ONE", "TWO", "THREE")
    waiting(acme, "TWO", "TWO", "ONE")
    with tenant_context(acme.tenant):
        queue = selectors.items()
        names = [item.label for item in queue]
        assert names == ["TWO", "ONE", "THREE"]
        items = {item.label: item for item in queue}
        for n, name in enumerate(names):
            following = selectors.next_item(queue, items[name])
            before = selectors.previous_item(queue, items[names[(n + 1) % 3]])
            assert following is not None
            assert before is not None
            assert (following.label, before.label) == (names[(n + 1) % 3], name)
        services.dismiss(items=[two.pk, three.pk], actor=ANN)
        assert selectors.next_item(queue, one) is None

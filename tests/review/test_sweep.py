"""Counting labels out of the events: each event once, whatever happens meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from mapping import tasks
from mapping.models import MappingEvent, ReviewCursor, ReviewItem, ReviewSeen
from mapping.review import sweep as sweeping
from mapping.review.sweep import start_anew, sweep
from pillars import queue
from tenants.context import tenant_context
from tenants.models import Tenant
from tests.conftest import DemoTenant
from tests.support.reviews import ago, event, finding, keep
from tests.support.schemas import set_up
from tests.support.threads import apart, together


def counts() -> dict[tuple[str, str], int]:
    """(detector, label or hash) -> events; the overflow has neither."""
    rows = ReviewItem.objects.values_list("detector", "label", "digest", "events")
    return {(detector, label or digest): events for detector, label, digest, events in rows}


@pytest.fixture
def tenant(acme: DemoTenant) -> Iterator[Any]:
    """acme, entered; nothing outlives the test."""
    with tenant_context(acme.tenant):
        yield acme.tenant


class TestWhatIsCounted:
    def test_a_label_with_its_times_and_confidences(self, tenant: Any) -> None:
        first, last = ago(hours=2), ago(hours=1)
        guess = {"canonical": "PII.Contact.Email", "method": "model"}
        keep(
            event(finding(), at=first),
            event(finding(confidence=0.2, **guess), at=ago(minutes=90), decision="review"),
            event(finding(confidence=0.4, **guess), at=last, decision="review", release=7),
        )
        assert sweep() == 3
        item = ReviewItem.objects.get()
        assert (item.detector, item.label, item.state, item.events) == (
            "presidio", "BADGE_NO", "open", 3,
        )  # fmt: skip
        assert (item.first_seen, item.last_seen, item.release) == (first, last, 7)
        assert (item.lowest_confidence, item.last_confidence, item.reason) == (0.0, 0.4, "review")
        assert item.candidates == [["PII.Contact.Email", 0.4]]
        assert item.priority == pytest.approx(3 * 0.6)

    def test_the_candidates_that_a_model_names(self, tenant: Any) -> None:
        named = [[f"X.{n}", n / 10] for n in range(7)]
        keep(event(finding(candidates=named)))
        sweep()
        assert ReviewItem.objects.get().candidates == named[:1:-1]

    def test_what_a_person_cannot_decide_is_not_counted(self, tenant: Any) -> None:
        unsure = {"canonical": "PII.Contact.Email", "confidence": 0.3}
        keep(
            event(finding("A", method="rule", **unsure), decision="review"),
            event(finding("B", method="decision", canonical="PII.Contact.Email", confidence=1.0)),
            event(finding(None)),
            event(decision="safe", confidence=1.0),
            event(finding("C", method="model", canonical="PII.Contact.Email", confidence=0.9)),
            event(finding("D", method="error", canonical="OTHER.ModelError"), decision="error"),
        )
        sweep()
        assert counts() == {}

    def test_unknown_labels_beside_mapped_ones_and_branches_are(self, tenant: Any) -> None:
        mapped = finding("PERSON", method="rule", canonical="PII.Person.Name", confidence=1.0)
        branch = finding("E", method="parent", canonical="PII.Contact.Other", confidence=0.9)
        keep(event(mapped, finding()), event(branch))
        sweep()
        assert counts() == {("presidio", "BADGE_NO"): 1, ("presidio", "E"): 1}
        assert ReviewItem.objects.get(label="E").reason == "review"

    def test_an_answer_under_the_threshold_of_its_label_is(self, tenant: Any) -> None:
        """However sure it would be for another label."""
        guess = finding(method="model", canonical="SECRET.ApiKey", confidence=0.85)
        keep(event(guess, decision="review"), event(guess, decision="mapped"))
        sweep()
        assert counts() == {("presidio", "BADGE_NO"): 1}

    def test_what_a_model_leaves_to_people_is_also_beside_a_sure_finding(self, tenant: Any) -> None:
        mapped = finding("PERSON", method="rule", canonical="PII.Person.Name", confidence=1.0)
        left = finding(method="model", canonical="OTHER.NeedsReview", confidence=0.8)
        keep(event(mapped, left, decision="mapped"))
        sweep()
        item = ReviewItem.objects.get()
        assert (item.label, item.reason, item.candidates) == ("BADGE_NO", "review", [])

    def test_versions_and_hashes_are_apart_and_an_event_counts_once(self, tenant: Any) -> None:
        text = finding(None, source_digest="d" * 32)
        keep(event(finding(), finding(), text, detector_version="2.1"), event(finding(), text))
        sweep()
        rows = ReviewItem.objects.values_list("detector_version", "label", "digest", "events")
        assert sorted(rows) == [
            ("", "", "d" * 32, 1), ("", "BADGE_NO", "", 1),
            ("2.1", "", "d" * 32, 1), ("2.1", "BADGE_NO", "", 1),
        ]  # fmt: skip

    def test_what_the_engine_stores_is_what_is_counted(self, api: Any, acme: DemoTenant) -> None:
        text = {"entity_type": "badge of jane.roe@example.org!", "start": 0, "end": 9}
        for detector, output in (
            ("presidio", ["BADGE_NO", "PERSON"]), ("presidio", [text]), ("in-house", ["NEW_THING"]),
        ):  # fmt: skip
            item = {"detector": detector, "output": output}
            assert api("POST", "/map", acme.key, json=item).status_code == 200
        with tenant_context(acme.tenant):
            sweep()
            found = counts()
            hashed = ReviewItem.objects.exclude(digest="").get()
        assert found[("presidio", "BADGE_NO")] == found[("in-house", "NEW_THING")] == 1
        assert (hashed.label, len(hashed.digest), hashed.events) == ("", 32, 1)
        assert len(found) == 3


class TestLimits:
    def test_labels_beyond_the_limit_are_one_row(self, tenant: Any, settings: Any) -> None:
        review = settings.CONFIG.review.model_copy(update={"labels_per_detector": 10})
        settings.CONFIG = settings.CONFIG.model_copy(update={"review": review})
        texts = [finding(None, source_digest=f"{n:032}") for n in range(15)]
        keep(*(event(one) for one in texts), *(event(finding(f"L{n}")) for n in range(12)))
        sweep()
        found = counts()
        assert found.pop(("presidio", "")) == 5 + 2
        assert len(found) == 20
        assert ReviewItem.objects.get(label="", digest="").candidates == []
        keep(*(event(one) for one in texts))  # those that have a row are never beyond it
        sweep()
        found = counts()
        assert found.pop(("presidio", "")) == 7 + 5
        assert sum(found.values()) == 20 + 10

    def test_names_of_detectors_too(self, tenant: Any, settings: Any) -> None:
        review = settings.CONFIG.review.model_copy(update={"detectors": 10})
        settings.CONFIG = settings.CONFIG.model_copy(update={"review": review})
        keep(*(event(finding(), detector=f"d{n}", at=ago(minutes=20 - n)) for n in range(13)))
        sweep()
        keep(event(finding(), detector="d99"), event(finding("OTHER"), detector="d0"))
        sweep()
        found = counts()
        assert found[("", "")] == 4
        assert found[("d0", "OTHER")] == 1
        assert len(found) == 12


class TestOnceAndOnceOnly:
    def test_again_and_again(self, tenant: Any) -> None:
        keep(event(finding()))
        assert [sweep(), sweep()] == [1, 0]
        keep(event(finding()), event(finding(), at=ago(minutes=3)))  # the second commits late
        assert [sweep(), sweep()] == [2, 0]
        assert counts() == {("presidio", "BADGE_NO"): 3}

    def test_in_chunks(self, tenant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweeping, "CHUNK", 3)
        keep(*(event(finding(), at=ago(minutes=n)) for n in range(25)))
        assert [sweep(), sweep()] == [25, 0]
        keep(*(event(finding(), at=ago(minutes=n)) for n in range(4)))
        assert [sweep(seconds=0), sweep()] == [4, 0]

    def test_what_is_seen_is_forgotten_when_it_is_old(self, tenant: Any) -> None:
        keep(event(finding(), at=ago(hours=1)), event(finding()))
        sweep()
        assert ReviewSeen.objects.count() == 1
        cursor = ReviewCursor.objects.get()
        later = timezone.now() + timedelta(hours=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sweeping.timezone, "now", lambda: later)
            assert sweep() == 0
        assert ReviewSeen.objects.count() == 0
        assert ReviewCursor.objects.get().position > cursor.position

    def test_a_crash_in_the_middle_leaves_what_was(
        self, tenant: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(event(finding()))
        sweep()
        keep(event(finding()), event(finding("OTHER_THING")))

        def crash(*args: Any, **more: Any) -> None:
            raise RuntimeError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(ReviewSeen.objects, "bulk_create", crash)
            with pytest.raises(RuntimeError):
                sweep()
        assert counts() == {("presidio", "BADGE_NO"): 1}
        assert sweep() == 2
        assert counts() == {("presidio", "BADGE_NO"): 2, ("presidio", "OTHER_THING"): 1}

    def test_counting_anew(self, tenant: Any) -> None:
        keep(*(event(finding(), at=ago(days=n)) for n in range(3)))
        sweep()
        ReviewItem.objects.update(events=99)
        gone = ReviewItem.objects.create(
            detector="x", label="GONE", reason="fallback", events=1, first_seen=ago(days=9),
            last_seen=ago(days=9), lowest_confidence=0, last_confidence=0, release=1,
        )  # fmt: skip
        put_aside = ReviewItem.objects.create(
            detector="x", label="ASIDE", reason="fallback", events=1, first_seen=ago(days=9),
            last_seen=ago(days=9), lowest_confidence=0, last_confidence=0, release=1,
            state="dismissed",
        )  # fmt: skip
        start_anew()
        assert sweep() == 3
        assert counts() == {("presidio", "BADGE_NO"): 3, ("x", "ASIDE"): 0}
        assert not ReviewItem.objects.filter(pk=gone.pk).exists()
        assert ReviewItem.objects.get(pk=put_aside.pk).state == "dismissed"


@pytest.fixture
def own(new_tenant: Callable[..., Tenant]) -> Tenant:
    """A tenant of this test alone, committed."""
    return set_up(new_tenant())


class TestAtTheSameTime:
    def test_an_insert_that_commits_after_the_sweep(self, own: Tenant) -> None:
        """Its id and its INSERT are older than events that are counted already."""
        inserted, may_commit = threading.Event(), threading.Event()

        def slow_request() -> None:
            with tenant_context(own), transaction.atomic():
                keep(event(finding("LATE"), at=ago(minutes=4)))
                inserted.set()
                assert may_commit.wait(30)

        def sweeps() -> None:
            assert inserted.wait(30)
            with tenant_context(own):
                keep(event(finding()))
                assert sweep() == 1
                may_commit.set()

        together([slow_request, sweeps])
        with tenant_context(own):
            assert sweep() == 1
            assert counts() == {("presidio", "BADGE_NO"): 1, ("presidio", "LATE"): 1}

    def test_the_cursor_waits_for_the_oldest_writer(
        self, own: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeping, "LAG", timedelta(milliseconds=100))
        inserted, may_commit = threading.Event(), threading.Event()

        def slow_request() -> None:
            with tenant_context(own), transaction.atomic():
                keep(event(finding("LATE"), at=ago(seconds=0)))
                inserted.set()
                assert may_commit.wait(30)

        def sweeps() -> None:
            assert inserted.wait(30)
            with tenant_context(own):
                time.sleep(0.5)  # by now its id is older than LAG
                assert sweep() == 0
                began = ReviewCursor.objects.get().position
                assert sweep() == 0
                assert ReviewCursor.objects.get().position == began
            may_commit.set()

        together([slow_request, sweeps])
        with tenant_context(own):
            assert sweep() == 1

    def test_writers_and_several_sweepers(
        self, own: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeping, "CHUNK", 7)
        done = threading.Event()

        def write() -> int:
            with tenant_context(own):
                for number in range(40):
                    keep(
                        *(event(finding(f"L{number % 3}"), at=ago(seconds=number % 50))
                          for _ in range(3))
                    )  # fmt: skip
            return 0

        def sweeper() -> int:
            counted = 0
            with tenant_context(own):
                while not done.is_set():
                    counted += sweep()
            return counted

        def writers() -> int:
            try:
                together([write, write])
            finally:
                done.set()
            return 0

        counted = sum(together([writers, sweeper, sweeper]))
        with tenant_context(own):
            counted += sweep()
            assert counted == MappingEvent.objects.count() == 240
            assert counts() == {("presidio", "L0"): 84, ("presidio", "L1"): 78,
                                ("presidio", "L2"): 78}  # fmt: skip

    def test_counting_anew_while_a_sweep_is_at_it(
        self, own: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweeping, "CHUNK", 5)
        with tenant_context(own):
            keep(*(event(finding(), at=ago(minutes=n)) for n in range(40)))
            step, anew = sweeping._step, []

            def slow_step(after: Any, generation: int) -> Any:
                if generation >= 0 and not anew:
                    anew.append(1)
                    apart(start_from_elsewhere)
                return step(after, generation)

            def start_from_elsewhere() -> None:
                with tenant_context(own):
                    start_anew()

            with monkeypatch.context() as patch:
                patch.setattr(sweeping, "_step", slow_step)
                sweep()
            sweep()
            assert counts() == {("presidio", "BADGE_NO"): 40}

    def test_only_one_process_counts(self, own: Tenant) -> None:
        with tenant_context(own):
            sweep()
            keep(event(finding()))
            with transaction.atomic():
                ReviewCursor.objects.select_for_update().get()
                assert apart(lambda: _sweep_in(own)) == 0
            assert sweep() == 1

    def test_the_task_and_the_command(
        self, own: Tenant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sent: list[tuple[str, Any]] = []
        monkeypatch.setattr(queue, "dispatch", lambda task, **more: sent.append((task, more)))
        tasks.sweep_reviews()
        wanted = {"tenant_id": str(own.id)}
        assert ("mapping.sweep_reviews_of_tenant", wanted) in sent
        with tenant_context(own):
            keep(event(finding()))
        tasks.sweep_reviews_of_tenant(tenant_id=str(own.id))
        with tenant_context(own):
            assert counts() == {("presidio", "BADGE_NO"): 1}
        call_command("rebuild_review", tenant=own.slug)
        assert "1 events counted." in capsys.readouterr().out
        with tenant_context(own):
            assert counts() == {("presidio", "BADGE_NO"): 1}


def _sweep_in(tenant: Tenant) -> int:
    with tenant_context(tenant):
        return sweep()


def test_a_chunk_is_found_by_the_index(tenant: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sweeping._END_OF_CHUNK}", [sweeping._START, 10])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Only Scan" in plan

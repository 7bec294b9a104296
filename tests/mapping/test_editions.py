"""Migrations between taxonomy editions: what they show, refuse, resume and take back."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.models import AuditEntry
from mapping import editions, tasks
from mapping.errors import MigrationError
from mapping.impact import touched_events
from mapping.models import Direction, MappingEvent, MigratedLabels, MigrationRun, RunState
from mapping.overview import first_id_at
from mapping.partitions import drop_expired, ensure_partitions
from mapping.release_impact import release_impact
from mapping.selectors import migrated_labels, with_label
from mapping.tallies import Tally
from taxonomy.changes.impact import Affected
from taxonomy.errors import NoPlanError
from taxonomy.models import MigrationPlanEdition, TaxonomyEdition
from taxonomy.objects import Difference, ObjectKey, ObjectKind
from taxonomy.selectors import current_serial, documents_of
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.support.editions import NEW, OLD, SAMPLES, plant

pytestmark = pytest.mark.django_db
PLAN = {"old": OLD, "new": NEW}
ACTOR = "user:tester"
OF_OLD = sum(sample.edition == OLD for sample in SAMPLES)


@pytest.fixture
def tenant(acme: DemoTenant) -> Any:
    """acme, entered, with every sample five times."""
    plant(acme.tenant, 5 * len(SAMPLES))
    with tenant_context(acme.tenant):
        yield acme.tenant


def apply(direction: str = Direction.APPLY, **more: Any) -> MigrationRun:
    run = editions.start_run(**PLAN, direction=direction, actor=ACTOR, batch_size=7)
    return editions.carry_on(run_id=run.pk, **more)


def shown() -> list[list[str]]:
    """Labels of the events in their order, as they are shown."""
    events = list(MappingEvent.objects.order_by("id"))
    rows = migrated_labels(event.id for event in events)
    return [rows[event.id].labels if event.id in rows else event.labels for event in events]


def expected(edition: str) -> list[list[str]]:
    """Samples of that edition as they are migrated, the others as they were given."""
    return [s.shown if s.edition == edition else s.labels for s in SAMPLES] * 5


class TestARun:
    def test_shows_what_the_plan_says_and_leaves_events_alone(self, tenant: Any) -> None:
        before = list(MappingEvent.objects.order_by("id").values())
        run = apply()
        assert (run.state, run.rows_seen) == (RunState.DONE, 5 * len(SAMPLES))
        assert shown() == expected(OLD)
        assert list(MappingEvent.objects.order_by("id").values()) == before
        assert MigratedLabels.objects.filter(lossy=True).count() == 5 * sum(
            sample.lossy for sample in SAMPLES if sample.edition == OLD
        )

    def test_keeps_what_became_of_each_finding_and_label(self, tenant: Any) -> None:
        apply()
        event = MappingEvent.objects.get(pk=MappingEvent.objects.order_by("id")[4].pk)
        row = migrated_labels([event.id])[event.id]
        assert [f["source_label"] for f in event.findings] == ["violence/graphic", "violence"]
        assert row.canonical == ["HARM.VIOLENCE.Graphic", "HARM.VIOLENCE.Physical"]
        assert (row.given, row.became) == (
            ["HARM.VIOLENCE.Physical"] * 2, ["HARM.VIOLENCE.Graphic", "HARM.VIOLENCE.Physical"],
        )  # fmt: skip
        assert (row.given_taxonomy, row.taxonomy) == (OLD, NEW)

    def test_counts_balance(self, tenant: Any) -> None:
        counts = Tally.from_dict(apply().counts)
        assert counts.events == 5 * OF_OLD
        assert counts.flow["HARM.VIOLENCE.Physical"] == {
            "HARM.VIOLENCE.Graphic": 5, "HARM.VIOLENCE.Physical": 5,
        }  # fmt: skip
        assert counts.before["PROMPT_INJECTION.Other"] == 10
        assert counts.after["PROMPT_INJECTION.Direct"] == 10  # five came in by two labels
        assert editions.verify(**PLAN).as_dict() | {"run": "", "counts": 0} == {
            "run": "", "events": 5 * OF_OLD, "rows": 5 * OF_OLD, "missing": 0, "wrong": 0,
            "counts": 0, "problems": [], "balanced": True,
        }  # fmt: skip

    def test_goes_on_where_it_stopped(self, tenant: Any) -> None:
        run = apply(after_batch=lambda _: False)
        assert (run.state, run.rows_seen) == (RunState.RUNNING, 7)
        with pytest.raises(MigrationError, match="No finished migration"):
            editions.verify(**PLAN)
        again = apply()
        assert (again.pk, again.state, again.rows_seen) == (run.pk, RunState.DONE, 50)
        assert shown() == expected(OLD)
        assert editions.verify(**PLAN).problems == []

    def test_a_batch_that_fails_leaves_nothing_of_itself(
        self, tenant: Any, monkeypatch: Any
    ) -> None:
        run = apply(after_batch=lambda _: False)
        there = MigratedLabels.objects.count()

        def late(*_: Any, **__: Any) -> None:
            raise RuntimeError("killed between rows and cursor")

        with monkeypatch.context() as patch:
            patch.setattr(MigrationRun, "save", late)
            with pytest.raises(RuntimeError):
                editions.carry_on(run_id=run.pk)
        assert MigratedLabels.objects.count() == there
        run.refresh_from_db()
        assert run.rows_seen == 7
        apply()
        assert editions.verify(**PLAN).problems == []

    def test_takes_events_that_came_behind_the_cursor(self, tenant: Any) -> None:
        run = apply(after_batch=lambda now: now.rows_seen < 40)
        plant(tenant, 20, first=1000, start=datetime(2026, 8, 1, tzinfo=UTC))
        assert MappingEvent.objects.filter(id__lte=run.cursor).count() == run.rows_seen + 20
        apply()
        assert MigratedLabels.objects.count() == 7 * OF_OLD
        assert editions.verify(**PLAN).problems == []

    def test_done_it_takes_what_came_since(self, tenant: Any) -> None:
        run = apply()
        plant(tenant, 10, first=1000)
        assert "8 events of 2025.09 came in since" in editions.verify(**PLAN).problems[0]
        assert apply().pk == run.pk
        assert editions.verify(**PLAN).problems == []

    def test_two_workers_take_turns(self, tenant: Any) -> None:
        run = apply(after_batch=lambda _: False)

        def other(_: MigrationRun) -> None:
            editions.carry_on(run_id=run.pk, after_batch=lambda _: False)

        editions.carry_on(run_id=run.pk, after_batch=other)
        assert MigratedLabels.objects.count() == 5 * OF_OLD
        assert editions.verify(**PLAN).problems == []

    def test_of_a_tenant_touches_no_other(self, tenant: Any, globex: DemoTenant) -> None:
        plant(globex.tenant, 10)
        apply()
        with tenant_context(globex.tenant):
            assert not MigrationRun.objects.exists()
            assert not MigratedLabels.objects.exists()

    def test_is_in_the_audit_trail(self, tenant: Any) -> None:
        apply()
        editions.verify(**PLAN)
        entries = AuditEntry.objects.filter(action__startswith="migration.")
        assert [entry.action for entry in entries.order_by("id")] == [
            "migration.started", "migration.finished", "migration.verified",
        ]  # fmt: skip
        finished = entries.get(action="migration.finished")
        assert (finished.actor, finished.detail["events"]) == (ACTOR, 5 * OF_OLD)


class TestTheWayBack:
    def test_shows_given_labels_again_and_new_ones_by_old_names(self, tenant: Any) -> None:
        forward = apply()
        back = apply(Direction.INVERT)
        assert shown() == expected(NEW)
        counts = Tally.from_dict(back.counts)
        assert (counts.undone, counts.events, counts.lossy) == (5 * OF_OLD, 10, 5)
        assert editions.verify(**PLAN).problems == []
        forward.refresh_from_db()
        assert forward.state == RunState.UNDONE

    def test_and_forth(self, tenant: Any) -> None:
        apply()
        apply(Direction.INVERT)
        again = apply()
        assert shown() == expected(OLD)
        assert Tally.from_dict(again.counts).undone == 10
        assert editions.verify(**PLAN).problems == []
        assert MigrationRun.objects.count() == 3

    def test_resumes_too(self, tenant: Any) -> None:
        apply()
        apply(Direction.INVERT, after_batch=lambda _: False)
        with pytest.raises(MigrationError, match="under way"):
            apply()
        apply(Direction.INVERT)
        assert shown() == expected(NEW)
        assert editions.verify(**PLAN).problems == []

    def test_twice_takes_what_came_since(self, tenant: Any) -> None:
        apply()
        run = apply(Direction.INVERT)
        plant(tenant, 10, first=1000)
        assert apply(Direction.INVERT).pk == run.pk
        assert editions.verify(**PLAN).problems == []


class TestRefused:
    def test_nothing_to_invert(self, tenant: Any) -> None:
        with pytest.raises(MigrationError, match="nothing to invert"):
            apply(Direction.INVERT)

    def test_no_plan(self, tenant: Any) -> None:
        with pytest.raises(NoPlanError, match=r"2025\.09 to 2026\.11"):
            editions.start_run(old="2024.01", new=NEW, direction=Direction.APPLY, actor=ACTOR)

    def test_another_version_of_the_plan(self, tenant: Any) -> None:
        apply()
        shipped = MigrationPlanEdition.objects.get()
        MigrationPlanEdition.objects.create(
            old=OLD, new=NEW, version="2026.11.2", sha256="1" * 64,
            document={**shipped.document, "version": "2026.11.2"},
        )  # fmt: skip
        with pytest.raises(MigrationError, match=r"2026\.11\.1 .* applied, and 2026\.11\.2"):
            apply()
        assert apply(Direction.INVERT).plan_version == "2026.11.1"
        assert apply().plan_version == "2026.11.2"

    def test_an_edition_in_force(self, tenant: Any) -> None:
        MigrationPlanEdition.objects.create(
            old=NEW, new="2027.05", version="2027.05.1", sha256="2" * 64,
            document={"from": NEW, "to": "2027.05", "version": "2027.05.1", "steps": []},
        )  # fmt: skip
        with pytest.raises(MigrationError, match="is in force"):
            editions.start_run(old=NEW, new="2027.05", direction=Direction.APPLY, actor=ACTOR)

    def test_two_at_once_by_the_database(self, tenant: Any) -> None:
        apply(after_batch=lambda _: False)
        with pytest.raises(IntegrityError), transaction.atomic():
            MigrationRun.objects.create(
                old=OLD, new="2030.01", plan_version="1", plan_sha256="0", batch_size=1,
                direction=Direction.APPLY, actor=ACTOR,
            )  # fmt: skip

    def test_tampering_is_seen(self, tenant: Any) -> None:
        apply()
        row = MigratedLabels.objects.first()
        assert row is not None
        MigratedLabels.objects.filter(pk=row.pk).update(labels=["PII.Contact.Phone"])
        assert "1 events are shown with other labels" in editions.verify(**PLAN).problems[0]
        MigratedLabels.objects.filter(pk=row.pk).delete()
        assert "1 events of 2025.09" in editions.verify(**PLAN).problems[0]


@pytest.fixture
def next_plan() -> dict[str, str]:
    """A plan from 2024.03 to 2025.09: the one before the shipped one."""
    TaxonomyEdition.objects.create(edition="2024.03", document={"labels": {}}, sha256="3" * 64)
    steps = [
        {"label": "CARD.Number", "rename": "PII.Identifier.CreditCard"},
        {"label": "CARD.Gone", "retire": "Nobody ever used this label."},
        {"label": "ATTACK.Any", "rename": "PROMPT_INJECTION.Other"},
    ]
    document = {"from": "2024.03", "to": OLD, "version": f"{OLD}.1", "steps": steps}
    MigrationPlanEdition.objects.create(
        old="2024.03", new=OLD, version=f"{OLD}.1", sha256="4" * 64, document=document
    )
    return {"old": "2024.03", "new": OLD}


def test_plans_follow_each_other(acme: DemoTenant, next_plan: dict[str, str]) -> None:
    """2024.03 to 2025.09 to 2026.11: lineage begins at the given label, the way back is a stack."""
    plant(acme.tenant, 3)
    with tenant_context(acme.tenant):
        first, second, third = MappingEvent.objects.order_by("id")
        for event, labels in ((first, ["CARD.Number", "CARD.Gone"]), (second, ["CARD.Gone"])):
            MappingEvent.objects.filter(pk=event.pk).update(
                labels=labels, taxonomy_version="2024.03",
                findings=[{**event.findings[0], "canonical": label} for label in labels],
            )  # fmt: skip
        run = editions.start_run(**next_plan, direction=Direction.APPLY, actor=ACTOR)
        editions.carry_on(run_id=run.pk)
        assert shown()[:2] == [["PII.Identifier.CreditCard"], []]
        apply()
        assert shown() == [["PII.Financial.CreditCard"], [], ["PII.Health.RecordNumber"]]
        row = migrated_labels([first.id])[first.id]
        assert row.given == ["CARD.Number", "CARD.Gone"]
        assert row.became == row.canonical == ["PII.Financial.CreditCard", None]
        assert (row.given_taxonomy, row.taxonomy) == ("2024.03", NEW)
        assert editions.verify(**PLAN).problems == []
        with pytest.raises(MigrationError, match=r"back first: .* 2025\.09 2026\.11 --invert"):
            editions.start_run(**next_plan, direction=Direction.INVERT, actor=ACTOR)
        apply(Direction.INVERT)
        assert shown() == [["PII.Identifier.CreditCard"], [], ["PII.Health.HIPAA"]]
        assert migrated_labels([third.id]) == {}
        run = editions.start_run(**next_plan, direction=Direction.INVERT, actor=ACTOR)
        editions.carry_on(run_id=run.pk)
        assert shown() == [["CARD.Number", "CARD.Gone"], ["CARD.Gone"], ["OTHER.Unknown"]]
        assert editions.verify(**next_plan).problems == []
        with pytest.raises(MigrationError, match=r"back first: .* 2024\.03 2025\.09`"):
            apply()
        run = editions.start_run(**next_plan, direction=Direction.APPLY, actor=ACTOR)
        editions.carry_on(run_id=run.pk)
        apply()
        assert shown() == [["PII.Financial.CreditCard"], [], ["PII.Health.RecordNumber"]]
        assert editions.verify(**PLAN).problems == []


class TestShown:
    def test_both_labels_find_the_event(self, tenant: Any) -> None:
        apply()
        for label in ("PII.Identifier.CreditCard", "PII.Financial.CreditCard"):
            found = with_label(MappingEvent.objects.filter(taxonomy_version=OLD), label)
            assert found.count() == 5
        assert with_label(MappingEvent.objects.all(), "PII.Financial").count() == 10

    def test_the_api_gives_both(self, tenant: Any, acme: DemoTenant, api: Any) -> None:
        apply()
        found = api("GET", "/events?label=HARM.VIOLENCE.Graphic", acme.read_key).json()["results"]
        assert len(found) == 5
        assert found[0]["taxonomy"] == ["HARM.VIOLENCE.Physical"]
        assert found[0]["version_info"]["taxonomy"] == OLD
        assert found[0]["migrated"] == {
            "taxonomy": NEW,
            "labels": ["HARM.VIOLENCE.Graphic", "HARM.VIOLENCE.Physical"],
            "findings": ["HARM.VIOLENCE.Graphic", "HARM.VIOLENCE.Physical"],
            "plan": {"from": OLD, "to": NEW, "version": "2026.11.1"},
        }
        with tenant_context(tenant):
            apply(Direction.INVERT)
        (event, *_) = api("GET", "/events?label=HARM", acme.read_key).json()["results"]
        assert event["migrated"] is None

    def test_the_admin_shows_both(
        self, tenant: Any, acme: DemoTenant, client: Any, plain_static: None
    ) -> None:
        from access.users.models import User

        run = apply()
        client.defaults["HTTP_HOST"] = acme.host
        client.force_login(User.objects.get(username="officer"))
        event = MappingEvent.objects.order_by("id")[5]
        page = client.get(f"/admin/mapping/mappingevent/{event.pk}/change/").content.decode()
        for words in ("PROMPT_INJECTION.PolicyOverride", "PROMPT_INJECTION.Direct",
                      "given in taxonomy 2025.09", "shown in taxonomy 2026.11",
                      "migration plan 2026.11.1"):  # fmt: skip
            assert words in page
        listed = client.get("/admin/mapping/mappingevent/?label=PROMPT_INJECTION.Direct")
        assert listed.content.decode().count('<span class="pl-label">PROMPT_INJECTION.Direct') == 10
        assert "PolicyOverride" not in listed.content.decode()
        page = client.get(f"/admin/mapping/migrationrun/{run.pk}/change/").content.decode()
        assert "HARM.VIOLENCE.Physical (5): HARM.VIOLENCE.Graphic 5" in page
        assert client.get("/admin/mapping/migrationrun/").status_code == 200

    def test_retention_takes_the_rows_with_the_events(self, tenant: Any) -> None:
        ensure_partitions(today=date(2026, 9, 1))
        apply()
        assert MigratedLabels.objects.exists()
        drop_expired(today=date(2026, 10, 1) + timedelta(days=460))
        assert not MigratedLabels.objects.exists()

    def test_retention_takes_rows_that_a_killed_run_of_it_has_left(self, tenant: Any) -> None:
        ensure_partitions(today=date(2026, 9, 1))
        apply()
        with connection.cursor() as cursor:  # its partitions went, then the process was killed
            cursor.execute("DROP TABLE mapping_mappingevent_y2026m09")
        assert drop_expired(today=date(2026, 10, 1) + timedelta(days=460)) == []
        assert not MigratedLabels.objects.exists()

    def test_a_change_touches_events_by_the_labels_that_they_are_shown_with(
        self, tenant: Any
    ) -> None:
        apply()

        def touched(label: str) -> int:
            affected = Affected(labels={label})
            return MappingEvent.objects.filter(touched_events(affected)).count()

        assert touched("PROMPT_INJECTION.Direct") == 10
        assert touched("PROMPT_INJECTION.PolicyOverride") == 0  # given alone: nothing counts it
        assert touched("PII.Contact.Email") == 10
        apply(Direction.INVERT)
        assert touched("PROMPT_INJECTION.Direct") == 0
        assert touched("PROMPT_INJECTION.PolicyOverride") == 5


class TestInTheBackground:
    def test_a_worker_carries_it_on(self, tenant: Any) -> None:
        run = editions.start_run(
            **PLAN, direction=Direction.APPLY, actor=ACTOR, background=True, batch_size=7
        )
        tasks.migrate_tenant(tenant_id=str(tenant.id), run_id=str(run.pk))
        with tenant_context(tenant):
            run.refresh_from_db()
        assert run.state == RunState.DONE

    def test_a_slice_ends_and_sends_the_next(self, tenant: Any, monkeypatch: Any) -> None:
        sent: list[dict[str, Any]] = []
        monkeypatch.setattr(tasks.queue, "dispatch", lambda name, **kw: sent.append(kw))
        monkeypatch.setattr(tasks, "SLICE_SECONDS", 0.0)
        run = editions.start_run(
            **PLAN, direction=Direction.APPLY, actor=ACTOR, background=True, batch_size=7
        )
        names = {"tenant_id": str(tenant.id), "run_id": str(run.pk)}
        tasks.migrate_tenant(**names)
        with tenant_context(tenant):
            run.refresh_from_db()
        assert (run.state, run.rows_seen, sent) == (RunState.RUNNING, 7, [names])

    @pytest.mark.parametrize(("background", "times"), [(True, 1), (False, 0)])
    def test_the_sweep_sends_what_lost_its_worker(
        self, tenant: Any, monkeypatch: Any, background: bool, times: int
    ) -> None:
        sent: list[str] = []
        monkeypatch.setattr(tasks.queue, "dispatch", lambda name, **kw: sent.append(kw["run_id"]))
        run = editions.start_run(
            **PLAN, direction=Direction.APPLY, actor=ACTOR, background=background
        )
        assert tasks.sweep_migrations() == 0
        with tenant_context(tenant):
            MigrationRun.objects.update(moved_at=timezone.now() - timedelta(minutes=10))
        assert tasks.sweep_migrations() == times
        assert sent == [str(run.pk)] * times


def test_the_table_of_rows_is_found_by_event(tenant: Any) -> None:
    """A report and the event list join by an index."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT labels FROM mapping_migratedlabels WHERE event_id = %s AND shown",
            [MappingEvent.objects.order_by("id")[0].id],
        )
        assert "migrated_shown_once" in " ".join(row[0] for row in cursor.fetchall())


def test_a_host_whose_clock_is_slow_sees_earlier_runs(
    acme: DemoTenant, next_plan: dict[str, str]
) -> None:
    """Runs stand on each other in the order of their ids, whatever clock made them."""
    plant(acme.tenant, 1)
    with tenant_context(acme.tenant):
        MappingEvent.objects.update(labels=["CARD.Number"], taxonomy_version="2024.03", findings=[])
        run = editions.start_run(**next_plan, direction=Direction.APPLY, actor=ACTOR)
        ahead = first_id_at(timezone.now() + timedelta(hours=1))
        MigrationRun.objects.filter(pk=run.pk).update(id=ahead)  # as a host with a fast clock would
        editions.carry_on(run_id=ahead)
        apply()
        assert shown() == [["PII.Financial.CreditCard"]]
        apply(Direction.INVERT)
        assert shown() == [["PII.Identifier.CreditCard"]]


def test_another_release_touches_events_by_the_labels_that_they_are_shown_with(
    acme: DemoTenant,
) -> None:
    plant(acme.tenant, len(SAMPLES), start=timezone.now() - timedelta(hours=1))
    serial = current_serial()
    assert serial is not None
    documents = documents_of(serial)
    direct = ObjectKey(ObjectKind.LABEL, NEW, "PROMPT_INJECTION.Direct")
    differences = [Difference(direct, {"severity": "high"}, {"severity": "low"})]
    with tenant_context(acme.tenant):
        assert release_impact(differences, documents).by_label == 0
        apply()
        assert release_impact(differences, documents).by_label == 2

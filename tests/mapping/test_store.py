"""The event table: its partitions, and writes that may be repeated."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import uuid_utils
from django.conf import settings
from django.db import connection
from django.test import Client

from audit.models import AuditEntry
from mapping import services, tasks
from mapping.models import MappingEvent
from mapping.partitions import (
    TABLE,
    drop_expired,
    ensure_partitions,
    existing_partitions,
    partition_name,
)
from mapping.store import insert_events
from tenants.context import NoTenantError, public_context, tenant_context
from tests.conftest import DemoTenant
from tests.support.threads import together

ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}


def row(moment: datetime, **more: Any) -> dict[str, Any]:
    """A row with every column, as mapping.services makes it."""
    empty = {field.column: None for field in MappingEvent._meta.local_fields}
    return {
        **empty, "id": str(uuid_utils.uuid7()), "received_at": moment, "detector": "presidio",
        "decision": "safe", "severity": "none", "confidence": 1.0, "labels": ["OTHER.Safe"],
        "scores": {}, "findings": [], "output_shape": {}, "request_id": "r",
        "api_key_id": str(uuid.UUID(int=1)), "release": 1, "taxonomy_version": "2026.11", **more,
    }  # fmt: skip


def where(event_id: str) -> str:
    """The partition that holds an event."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {TABLE} WHERE id = %s", [event_id])
        return str(cursor.fetchone()[0]).rsplit(".", 1)[-1]


@pytest.fixture
def inside(acme: DemoTenant) -> Iterator[None]:
    """In a tenant, in a transaction that is rolled back."""
    with tenant_context(acme.tenant):
        yield


@pytest.mark.django_db
@pytest.mark.usefixtures("inside")
class TestTable:
    def test_has_the_models_columns(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
                "ORDER BY attnum",
                [TABLE],
            )
            real = cursor.fetchall()
        wanted = [
            (
                field.column,
                str(field.db_type(connection)).replace("varchar", "character varying"),
                not field.null,
            )
            for field in MappingEvent._meta.local_fields
        ]
        assert real == wanted

    def test_partitions_have_them_too(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(DISTINCT columns) FROM (SELECT string_agg(attname || atttypid || "
                "attnotnull, ',' ORDER BY attnum) AS columns FROM pg_attribute a JOIN pg_inherits "
                "i ON i.inhrelid = a.attrelid WHERE i.inhparent = %s::regclass AND attnum > 0 "
                "GROUP BY attrelid) s",
                [TABLE],
            )
            assert cursor.fetchone()[0] == 1

    def test_no_id_twice_in_a_month(self) -> None:
        one = row(datetime.now(UTC))
        insert_events([one])
        insert_events([one, row(datetime.now(UTC))])
        assert MappingEvent.objects.filter(pk=one["id"]).count() == 1
        assert MappingEvent.objects.count() == 2

    def test_needs_a_tenant(self) -> None:
        with public_context(), pytest.raises(NoTenantError):
            insert_events([row(datetime.now(UTC))])

    def test_no_rows_is_no_error(self) -> None:
        insert_events([])
        assert MappingEvent.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.usefixtures("inside")
class TestMonths:
    def test_this_one_and_two_ahead(self) -> None:
        now = datetime.now(UTC).date().replace(day=1)
        assert sorted(existing_partitions())[0] == now
        assert len(existing_partitions()) == 3
        assert ensure_partitions() == []

    def test_names(self) -> None:
        assert partition_name(date(2026, 1, 1)) == "mapping_mappingevent_y2026m01"
        made = ensure_partitions(today=date(2030, 12, 31))
        assert made == [f"{TABLE}_y2030m12", f"{TABLE}_y2031m01", f"{TABLE}_y2031m02"]

    @pytest.mark.parametrize(
        ("moment", "month"),
        [
            ("2031-02-28T23:59:59.999999+00:00", "y2031m02"),
            ("2031-03-01T00:00:00+00:00", "y2031m03"),
            ("2031-03-01T00:30:00+01:00", "y2031m02"),
            ("2031-02-28T23:30:00-01:00", "y2031m03"),
            ("2031-04-01T00:00:00+00:00", "y2031m04"),
        ],
    )
    def test_borders_are_midnight_in_utc(self, moment: str, month: str) -> None:
        ensure_partitions(today=date(2031, 2, 10))
        event = row(datetime.fromisoformat(moment))
        insert_events([event])
        assert where(event["id"]) == f"{TABLE}_{month}"

    def test_the_default_catches_and_gives_back(self) -> None:
        caught = [row(datetime(2032, month, 15, tzinfo=UTC)) for month in (1, 2, 3, 4, 9)]
        insert_events(caught)
        assert {where(event["id"]) for event in caught} == {f"{TABLE}_default"}
        ensure_partitions(today=date(2032, 2, 1))
        places = [where(event["id"]) for event in caught]
        assert places == [f"{TABLE}_y2032m0{month}" for month in (1, 2, 3, 4, 9)]
        assert MappingEvent.objects.count() == 5

    def test_expired_months_are_dropped(self) -> None:
        today = date(2033, 8, 20)
        for year, month in ((2031, 1), (2031, 12), (2032, 4), (2032, 5), (2032, 6), (2033, 8)):
            moment = datetime(year, month, 1, tzinfo=UTC)
            ensure_partitions(today=moment.date())
            insert_events([row(moment)])
        oldest = today - timedelta(days=settings.CONFIG.retention.events_days)
        assert oldest == date(2032, 5, 22)
        dropped = drop_expired(today=today)
        assert f"{TABLE}_y2032m04" in dropped
        assert f"{TABLE}_y2032m05" not in dropped
        kept = MappingEvent.objects.order_by("received_at").values_list("received_at", flat=True)
        assert [(m.year, m.month) for m in kept] == [(2032, 5), (2032, 6), (2033, 8)]
        assert drop_expired(today=today) == []

    def test_rows_of_a_month_without_partition_expire_too(self) -> None:
        insert_events([row(datetime(2020, 1, 15, tzinfo=UTC))])
        ensure_partitions()
        drop_expired()
        assert MappingEvent.objects.count() == 0

    def test_the_task_does_both_and_says_so(self, acme: DemoTenant) -> None:
        ensure_partitions(today=date(2021, 5, 1))
        insert_events([row(datetime(2021, 5, 2, tzinfo=UTC))])
        tasks.maintain_tenant(tenant_id=str(acme.tenant.id))
        with tenant_context(acme.tenant):
            assert MappingEvent.objects.count() == 0
            entry = AuditEntry.objects.filter(action="events.expired").latest("id")
        assert entry.actor == "system:retention"
        assert f"{TABLE}_y2021m05" in entry.detail["partitions"]


class TestAtOnce:
    """Committed, on connections of their own."""

    def clean(self, spare: DemoTenant) -> None:
        with tenant_context(spare.tenant):
            for month, name in existing_partitions().items():
                if month > date(2034, 1, 1):
                    with connection.cursor() as cursor:
                        cursor.execute(f"DROP TABLE {name}")
            MappingEvent.objects.all().delete()

    def test_inserts_go_on_while_a_month_is_made(self, spare: DemoTenant) -> None:
        """The month is not there yet: its rows land in the default one and must not be lost."""
        self.clean(spare)
        stop, inserted = threading.Event(), []

        def insert() -> None:
            try:
                with tenant_context(spare.tenant):
                    while not stop.is_set():
                        event = row(datetime(2035, 6, 15, tzinfo=UTC))
                        insert_events([event])
                        inserted.append(event["id"])
            finally:
                stop.set()

        def more(count: int) -> None:
            reached = len(inserted)
            while len(inserted) < reached + count and not stop.is_set():
                time.sleep(0.005)

        def make() -> list[str]:
            try:
                with tenant_context(spare.tenant):
                    more(50)
                    made = ensure_partitions(today=date(2035, 6, 1))
                    more(20)
                    return made
            finally:
                stop.set()

        try:
            made = together([make, insert, insert, insert])[0]
            assert f"{TABLE}_y2035m06" in made
            with tenant_context(spare.tenant):
                stored = {str(pk) for pk in MappingEvent.objects.values_list("pk", flat=True)}
                assert stored == set(inserted)
                assert {where(event) for event in inserted[-5:]} == {f"{TABLE}_y2035m06"}
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT count(*) FROM {TABLE}_default")
                    assert cursor.fetchone()[0] == 0
        finally:
            self.clean(spare)

    def test_two_workers_make_a_month_once(self, spare: DemoTenant) -> None:
        def make() -> list[str]:
            with tenant_context(spare.tenant):
                return ensure_partitions(today=date(2036, 1, 1))

        try:
            made = [name for names in together([make] * 4) for name in names]
            assert sorted(made) == [f"{TABLE}_y2036m0{month}" for month in (1, 2, 3)]
        finally:
            self.clean(spare)


class TestLostConnections:
    """The server ends the connection, before or after it has committed."""

    def kill(self, backend: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [backend])

    def backend(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    def post(self, spare: DemoTenant, **headers: str) -> Any:
        headers = {"host": "localhost", "authorization": f"Bearer {spare.key}", **headers}
        return Client().post("/map", ITEM, content_type="application/json", headers=headers)

    @pytest.fixture
    def breaking(
        self, spare: DemoTenant, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[str], list[str]]]:
        """breaking(when): the first write of an event loses its connection before or after it."""
        write = services.insert_events
        attempts: list[str] = []

        def begin(when: str) -> list[str]:
            def broken(rows: list[dict[str, Any]]) -> None:
                attempts.append(rows[0]["id"])
                if len(attempts) > 1:
                    write(rows)
                    return
                if when == "after":
                    write(rows)
                own = self.backend()
                together([lambda: self.kill(own)])
                write(rows)

            monkeypatch.setattr(services, "insert_events", broken)
            return attempts

        with tenant_context(spare.tenant):
            MappingEvent.objects.all().delete()
        yield begin
        with tenant_context(spare.tenant):
            MappingEvent.objects.all().delete()

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("headers", [{}, {"idempotency-key": "lost"}], ids=["plain", "keyed"])
    def test_an_event_is_stored_once(
        self, spare: DemoTenant, breaking: Any, when: str, headers: dict[str, str]
    ) -> None:
        attempts = breaking(when)
        key = {name: f"{value}-{uuid.uuid4()}" for name, value in headers.items()}
        answer = self.post(spare, **key)
        assert answer.status_code == 200, answer.content
        assert attempts == [answer.json()["event_id"]] * 2
        with tenant_context(spare.tenant):
            stored = [str(pk) for pk in MappingEvent.objects.values_list("pk", flat=True)]
        assert stored == [answer.json()["event_id"]]
        if key:
            again = self.post(spare, **key)
            assert again.content == answer.content
            assert again.headers["Idempotency-Replayed"] == "true"

"""Monthly partitions of the event table, in the tenant that is active."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from tenants.context import require_tenant

TABLE = "mapping_mappingevent"
MONTHS_AHEAD = 2
_NAME = re.compile(rf"^{TABLE}_y(\d{{4}})m(\d{{2}})$")


def _month(day: date, offset: int = 0) -> date:
    index = day.year * 12 + day.month - 1 + offset
    return date(index // 12, index % 12 + 1, 1)


def partition_name(month: date) -> str:
    """Name of the partition of a month."""
    return f"{TABLE}_y{month.year:04d}m{month.month:02d}"


def existing_partitions() -> dict[date, str]:
    """Month -> partition, without the default partition."""
    schema = require_tenant()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE %s",
            [schema, f"{TABLE}_y%"],
        )
        names = [row[0] for row in cursor.fetchall()]
    matches = ((name, _NAME.match(name)) for name in names)
    return {date(int(m[1]), int(m[2]), 1): name for name, m in matches if m is not None}


def ensure_partitions(*, today: date | None = None) -> list[str]:
    """Create this month's partition and those ahead. Returns the names of the new ones.

    Months whose rows the default partition has caught meanwhile get theirs too, and their rows
    move there: else they would never expire.
    """
    today = today or timezone.now().date()
    ahead = {_month(today, offset) for offset in range(MONTHS_AHEAD + 1)}
    with transaction.atomic(), connection.cursor() as cursor:
        # One worker at a time: the others find the months made.
        lock = f"{require_tenant()}.{TABLE}.partitions"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
        missing = (ahead | _months_caught(cursor)) - existing_partitions().keys()
        return [_create(cursor, month) for month in sorted(missing)]


def _months_caught(cursor: Any) -> set[date]:
    table = f'"{require_tenant()}".{TABLE}_default'
    month = "date_trunc('month', received_at AT TIME ZONE 'UTC')::date"
    cursor.execute(f"SELECT DISTINCT {month} FROM {table}")  # noqa: S608
    return {row[0] for row in cursor.fetchall()}


def _create(cursor: Any, month: date) -> str:
    schema, name = require_tenant(), partition_name(month)
    bounds = [_start_of(month), _start_of(_month(month, 1))]
    # Names are made here from a date and from the register's checked schema name.
    # Inserts wait before they choose a partition: none may still choose the default one.
    cursor.execute(f'LOCK TABLE ONLY "{schema}".{TABLE} IN SHARE ROW EXCLUSIVE MODE')
    cursor.execute(f'CREATE TABLE "{schema}".{name} (LIKE "{schema}".{TABLE} INCLUDING ALL)')
    cursor.execute(
        f'WITH moved AS (DELETE FROM "{schema}".{TABLE}_default '  # noqa: S608
        f"WHERE received_at >= %s AND received_at < %s RETURNING *) "
        f'INSERT INTO "{schema}".{name} SELECT * FROM moved',
        bounds,
    )
    cursor.execute(
        f'ALTER TABLE "{schema}".{TABLE} ATTACH PARTITION "{schema}".{name} '
        f"FOR VALUES FROM ('{bounds[0].isoformat()}') TO ('{bounds[1].isoformat()}')"
    )
    return name


def drop_expired(*, today: date | None = None) -> list[str]:
    """Drop months that ended before the retention period began. Returns their names."""
    today = today or timezone.now().date()
    oldest = today - timedelta(days=settings.CONFIG.retention.events_days)
    schema = require_tenant()
    dropped = []
    for month, name in sorted(existing_partitions().items()):
        if _month(month, 1) <= oldest:
            with connection.cursor() as cursor:
                cursor.execute(f'DROP TABLE "{schema}".{name}')
            dropped.append(name)
    _drop_migrated_labels(before=_start_of(_month(oldest)))
    return dropped


def _drop_migrated_labels(*, before: datetime) -> None:
    """What expired events were shown with goes too, and what a run wrote just before.

    Every time, not only after a partition was dropped: the last time may have been cut off.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', '10min', true)")  # a whole month
        cursor.execute(
            f'DELETE FROM "{require_tenant()}".mapping_migratedlabels '  # noqa: S608
            "WHERE received_at < %s",
            [before],
        )


def _start_of(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def give_tenant_its_partitions(**_kwargs: Any) -> None:
    """Receiver of tenant_schema_ready."""
    ensure_partitions()

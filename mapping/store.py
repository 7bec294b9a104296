"""Writes events: one statement for one event or a thousand."""

from typing import Any

import orjson
from django.db import connection

from mapping.models import MappingEvent
from tenants.context import require_tenant

_COLUMNS = ", ".join(field.column for field in MappingEvent._meta.local_fields)
_INSERT = (
    f"INSERT INTO {MappingEvent._meta.db_table} ({_COLUMNS}) "  # noqa: S608 - names of our own
    f"SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::{MappingEvent._meta.db_table}, %s) "
    "ON CONFLICT DO NOTHING"
)


def insert_events(rows: list[dict[str, Any]]) -> None:
    """Insert rows (column -> value, every column present) into the active tenant's event table.

    PostgreSQL turns the JSON into typed columns, which costs this process far less than building
    model instances. A row whose id is there already is left alone, so a repeated call after a
    lost connection doubles nothing.
    """
    require_tenant()
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [orjson.dumps(rows).decode()])

"""Writes events: one statement for one event or a thousand."""

from functools import lru_cache
from typing import Any

import orjson
import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections

from mapping.models import MappingEvent
from tenants.context import require_tenant

_TABLE = MappingEvent._meta.db_table
_COLUMNS = ", ".join(str(field.column) for field in MappingEvent._meta.local_fields)


@lru_cache(maxsize=4096)
def _insert_statement(schema: str) -> str:
    table = f"{connection.ops.quote_name(schema)}.{_TABLE}"
    return (
        f"INSERT INTO {table} ({_COLUMNS}) "  # noqa: S608 - names of our own, quoted
        f"SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::{table}, %s) "
        "ON CONFLICT DO NOTHING"
    )


def insert_events(rows: list[dict[str, Any]]) -> None:
    """Insert rows (column -> value, every column present) into the active tenant's event table.

    PostgreSQL turns the JSON into typed columns, which costs this process far less than building
    model instances. A row whose id is there already is left alone, so a repeated call after a
    lost connection doubles nothing.

    The statement names the schema, so it needs no `SET search_path` first, and it is prepared
    once a connection: of the two round trips of an ordinary query, one is left.
    """
    statement = _insert_statement(require_tenant())
    payload = orjson.dumps(rows).decode()
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        cursor.execute(statement, [payload], prepare=True)

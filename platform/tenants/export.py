"""Exports a tenant's schema before it is deleted."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from django.db import connection, transaction
from django.utils import timezone

from tenants.errors import TenantError
from tenants.models import Tenant

_CHUNK = 2_000
# Sessions are live credentials, and password hashes belong to people, not to the tenant.
_LEFT_OUT_TABLES = frozenset({"django_session"})
_LEFT_OUT_COLUMNS = {"users_user": frozenset({"password"})}


def export_tenant(*, tenant: Tenant, directory: Path) -> Path:
    """Write every table of a tenant as JSON lines into one ZIP file with a manifest.

    The manifest holds rows and SHA-256 for each table. The file appears under its name only when
    it is whole. Raises TenantError if the folder cannot be written.
    """
    stamp = timezone.now().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = directory / f"pillars-tenant-{tenant.slug}-{stamp}.zip"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=directory, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            try:
                _write_archive(file, tenant)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise TenantError(
            f"The export cannot be written to {directory} ({error.strerror}). Nothing was deleted."
        ) from None
    return target


def _write_archive(file: IO[bytes], tenant: Tenant) -> None:
    with (
        connection.wrap_database_errors,
        transaction.atomic(),
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        with connection.cursor() as cursor:  # one view of all tables, so that they fit together
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        manifest = _write_tables(archive, tenant)
        archive.writestr("manifest.json", json.dumps(manifest, indent=2))
    file.flush()
    os.fsync(file.fileno())


def _write_tables(archive: zipfile.ZipFile, tenant: Tenant) -> dict[str, object]:
    tables: dict[str, dict[str, object]] = {}
    for table in _tables(tenant.schema_name):
        digest, rows = hashlib.sha256(), 0
        with archive.open(f"{table}.jsonl", "w") as file:
            for line in _lines(tenant.schema_name, table):
                digest.update(line)
                file.write(line)
                rows += 1
        tables[table] = {"rows": rows, "sha256": digest.hexdigest()}
    return {
        "tenant": {"id": str(tenant.id), "slug": tenant.slug, "name": tenant.name},
        "exported_at": datetime.now(UTC).isoformat(),
        "tables": tables,
    }


def _tables(schema: str) -> list[str]:
    """Tables that hold rows of their own or by their partitions, not the partitions themselves."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
            "ORDER BY c.relname",
            [schema],
        )
        return [row[0] for row in cursor.fetchall() if row[0] not in _LEFT_OUT_TABLES]


def _lines(schema: str, table: str) -> Iterator[bytes]:
    quote = connection.ops.quote_name
    source = f"{quote(schema)}.{quote(table)}"
    left_out = sorted(_LEFT_OUT_COLUMNS.get(table, ()))
    with connection.connection.cursor("tenant_export") as cursor:
        cursor.itersize = _CHUNK
        cursor.execute(
            f"SELECT (to_jsonb(t) - %s::text[])::text FROM {source} t",  # noqa: S608
            [left_out],
        )
        for (text,) in cursor:
            yield text.encode() + b"\n"

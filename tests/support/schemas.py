"""Tenants set up from a copy of a migrated tenant's tables: a seventh of the time of migrating.

What a tenant is set up by is tested in tests/tenants, which does not use this; nor does the first
tenant of every run, which is the one that is copied.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg

_copied: dict[str, str] = {}  # schema -> SQL that makes it, of at most one tenant


def remember(schema: str, pg_dump: Path) -> None:
    """Keep the SQL of a schema that has just been set up, with its first rows."""
    command = [
        *(str(pg_dump), "--schema", schema, "--no-owner", "--no-privileges"),
        *("--inserts", "--rows-per-insert=500", "--dbname", os.environ["DATABASE_URL"]),
    ]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = (line for line in dump.splitlines() if not line.startswith("\\"))  # psql's own words
    _copied[schema] = "\n".join(lines)


def set_up(tenant: Any) -> Any:
    """Provision a registered tenant, whose migrations find their work done if there is a copy.

    Everything that commits: never inside a test's transaction.
    """
    from tenants.services import provision_tenant

    for schema, sql in _copied.items():
        # On a connection of its own: a dump changes the search path.
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.execute(re.sub(rf"\b{schema}\b", tenant.schema_name, sql).encode())
    return provision_tenant(tenant_id=tenant.id)

"""The one place that switches tenants. Nothing else may (ruff and import-linter check it).

django-tenants 4.0.1's own forms leak: `with tenant:` and decorated functions share one list
between threads, and in async code the ORM runs on another connection than the one switched.
So: plain `with` blocks and synchronous code only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from django.db import connection


class HasSchema(Protocol):
    """A tenant, or a reference to one."""

    @property
    def schema_name(self) -> str: ...


class NoTenantError(RuntimeError):
    """Code that needs a tenant ran without one."""


PUBLIC = "public"


def activate(tenant: HasSchema) -> None:
    """Enter a tenant for the rest of a request. The middleware leaves it again with reset()."""
    connection.set_tenant(tenant)  # type: ignore[attr-defined]


def reset() -> None:
    """Go back to the public schema."""
    if current_schema() != PUBLIC:
        connection.set_schema_to_public()  # type: ignore[attr-defined]


def current_schema() -> str:
    """Name of the schema that queries go to."""
    return str(connection.schema_name)  # type: ignore[attr-defined]


def require_tenant() -> str:
    """Name of the tenant's schema; NoTenantError in the public one."""
    schema = current_schema()
    if schema == PUBLIC:
        raise NoTenantError("No tenant is active: wrap the call in tenant_context(tenant).")
    return schema


@contextmanager
def tenant_context(tenant: HasSchema) -> Iterator[None]:
    """Run the block in a tenant's schema, then go back to where it was."""
    previous = connection.tenant  # type: ignore[attr-defined]
    connection.set_tenant(tenant)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection.set_tenant(previous)  # type: ignore[attr-defined]


@contextmanager
def public_context() -> Iterator[None]:
    """Run the block in the public schema, then go back to where it was."""
    previous = connection.tenant  # type: ignore[attr-defined]
    connection.set_schema_to_public()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection.set_tenant(previous)  # type: ignore[attr-defined]

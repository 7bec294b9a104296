"""Writes the audit trail."""

from typing import Any

import structlog.contextvars

from audit.models import AuditEntry


def record(
    *, action: str, actor: str, target: str = "", detail: dict[str, Any] | None = None
) -> AuditEntry:
    """Add an entry to the trail of the schema that is active, in the caller's transaction.

    `actor` is `user:NAME`, `key:ID` or `system:NAME`. `detail` holds metadata alone.
    """
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return AuditEntry.objects.create(
        action=action, actor=actor[:200], target=target, detail=detail or {}, request_id=request_id
    )

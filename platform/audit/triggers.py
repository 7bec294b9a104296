"""Database triggers for rows that may be added and never changed or removed."""

import pgtrigger

NO_TRUNCATE = pgtrigger.Trigger(
    name="no_truncate",
    operation=pgtrigger.Truncate,
    when=pgtrigger.Before,
    level=pgtrigger.Statement,
    func="RAISE EXCEPTION 'rows of this table cannot be removed';",
)


def append_only() -> list[pgtrigger.Trigger]:
    """For a model's `Meta.triggers`: UPDATE, DELETE and TRUNCATE fail, however they come."""
    return [
        pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
        NO_TRUNCATE,
    ]

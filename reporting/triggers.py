"""Database triggers: a finished report and its files are never changed.

They are deleted by retention alone (reporting.services.expire_reports), which says so in its
transaction; and even that is refused for rows younger than the shortest retention that the
configuration allows.
"""

import pgtrigger

RETENTION_SETTING = "pillars.retention"
RETENTION_VALUE = "reports"
# retention.reports_days cannot be set lower: see pillars.config.schema.
SHORTEST_RETENTION_DAYS = 30


def only_retention_deletes(age_column: str) -> list[pgtrigger.Trigger]:
    """DELETE needs the setting of the retention service and a row that is old; TRUNCATE fails."""
    return [
        pgtrigger.Trigger(
            name="only_retention_deletes",
            operation=pgtrigger.Delete,
            when=pgtrigger.Before,
            func=(
                f"IF current_setting('{RETENTION_SETTING}', true) = '{RETENTION_VALUE}' "
                f"AND OLD.{age_column} < now() - interval '{SHORTEST_RETENTION_DAYS} days' "
                "THEN RETURN OLD; END IF; "
                "RAISE EXCEPTION 'reports are deleted by retention alone';"
            ),
        ),
        pgtrigger.Trigger(
            name="no_truncate",
            operation=pgtrigger.Truncate,
            when=pgtrigger.Before,
            level=pgtrigger.Statement,
            func="RAISE EXCEPTION 'rows of this table cannot be removed';",
        ),
    ]


def finished_is_final() -> list[pgtrigger.Trigger]:
    """UPDATE of a report that is done or failed fails."""
    return [
        pgtrigger.Protect(
            name="finished_is_final",
            operation=pgtrigger.Update,
            condition=pgtrigger.Q(old__state__in=["done", "failed"]),
        )
    ]


def files_are_final() -> list[pgtrigger.Trigger]:
    """A file is never changed, and none is added to a report that is finished."""
    return [
        pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update),
        pgtrigger.Trigger(
            name="none_added_later",
            operation=pgtrigger.Insert,
            when=pgtrigger.Before,
            declare=[("report_state", "text")],
            # The schema is the table's own, whatever the search path says.
            func=(
                "EXECUTE format('SELECT state FROM %I.reporting_report WHERE id = $1', "
                "TG_TABLE_SCHEMA) INTO report_state USING NEW.report_id; "
                "IF report_state IN ('done', 'failed') THEN "
                "RAISE EXCEPTION 'the report is finished'; END IF; RETURN NEW;"
            ),
        ),
    ]

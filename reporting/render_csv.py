"""The CSV file of a report: one row for each control, each with its version tags.

RFC 4180 with a byte order mark, which spreadsheets need to read UTF-8. No cell can be taken for a
formula (OWASP: CSV injection).
"""

import csv
import io
from typing import Any

from reporting.coverage import SEVERITIES

HEADER = (
    "report_id", "tenant", "period_first_day", "period_last_day", "generated_at",
    "control", "code", "title", "group", "state", "reason",
    "events", "direct_events", "supporting_events", *SEVERITIES,
    "first_seen", "last_seen",
    "strongest_label", "strongest_evidence", "strongest_relationship", "strongest_strength",
    "labels", "migrated_from", "detectors",
    "pillars_version", "release", "taxonomy", "framework", "crosswalk", "model", "calibrator",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def render_csv(document: dict[str, Any]) -> bytes:
    """The controls of the document as CSV in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    for control in document["controls"]:
        writer.writerow([safe_cell(value) for value in _row(document, control)])
    return text.getvalue().encode("utf-8-sig")


def safe_cell(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets a quote in front; None is empty."""
    if value is None:
        return ""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def _row(document: dict[str, Any], control: dict[str, Any]) -> list[Any]:
    report, period, versions = document["report"], document["period"], document["versions"]
    strongest = control["strongest"] or dict.fromkeys(
        ("label", "evidence", "relationship", "strength")
    )
    return [
        report["id"], report["tenant"]["name"], period["first_day"], period["last_day"],
        report["generated_at"],
        control["id"], control["code"], control["title"], control["group"], control["state"],
        control["reason"],
        control["events"], control["direct_events"], control["supporting_events"],
        *(control["by_severity"][name] for name in SEVERITIES),
        control["first_seen"], control["last_seen"],
        strongest["label"], strongest["evidence"], strongest["relationship"],
        strongest["strength"],
        "; ".join(f"{row['label']}={row['events']}" for row in control["labels"]),
        "; ".join(
            f"{row['label']}<{old['label']}@{old['taxonomy']}={old['events']}"
            for row in control["labels"] for old in row["migrated_from"]
        ),
        "; ".join(f"{row['detector']}={row['events']}" for row in control["detectors"]),
        versions["pillars"], versions["release"], versions["taxonomy"], versions["framework"],
        versions["crosswalk"], versions["in_force"]["model"], versions["in_force"]["calibrator"],
    ]  # fmt: skip

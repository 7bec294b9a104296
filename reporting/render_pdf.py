"""The PDF file of a report: tagged PDF/A-3a with the JSON attached, made by WeasyPrint.

WeasyPrint needs the system's pango. Where it is missing, PdfUnavailableError says what to do.
"""

import hashlib
import logging
import warnings
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from reporting import wording
from reporting.chart import BANDS, trend_svg
from reporting.coverage import EVIDENCE, NOT_EVALUABLE, NOT_EVALUATED
from reporting.errors import PdfUnavailableError

# A long table costs seconds and megabytes; the JSON and CSV files hold every row.
MOST_ROWS = 60
MOST_LABELS = 3
ATTACHMENT = "report.json"
VARIANT = "pdf/a-3a"
for _chatty in ("weasyprint.progress", "fontTools"):  # they tell every step of every page
    logging.getLogger(_chatty).setLevel(logging.WARNING)


def render_pdf(document: dict[str, Any], json_file: bytes, csv_file: bytes) -> bytes:
    """The document for people. The digests of the other two files are printed in it."""
    HTML, Attachment, fonts = _weasyprint()  # noqa: N806 - names of classes
    html = render_to_string("reporting/report.html", _context(document, json_file, csv_file))
    attachment = Attachment(
        string=json_file,
        name=ATTACHMENT,
        description="The numbers of this report as JSON",
        relationship="Data",
        created=_moment(document["report"]["generated_at"]),
        modified=_moment(document["report"]["generated_at"]),
    )
    page = HTML(string=html, url_fetcher=_fetch_nothing)
    result = page.write_pdf(
        pdf_variant=VARIANT,
        pdf_identifier=document["report"]["id"].replace("-", "").encode(),
        attachments=[attachment],
        font_config=fonts,
    )
    assert isinstance(result, bytes)  # noqa: S101 - it is, where no target is given
    return result


def _weasyprint() -> tuple[Any, Any, Any]:
    """WeasyPrint's classes HTML and Attachment, and the machine's fonts."""
    with warnings.catch_warnings():
        # It looks for fonts when it is loaded, and warns; going on ends in a segmentation fault.
        warnings.filterwarnings("error", ".*Expect ugly output", UserWarning)
        try:
            # Loaded here, because a process that makes no PDF shall start without pango.
            from weasyprint import HTML, Attachment
            from weasyprint.text.fonts import FontConfiguration
        except OSError:
            raise PdfUnavailableError(
                "the system library pango is missing where the worker runs "
                "(Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0)."
            ) from None
        except UserWarning:
            raise PdfUnavailableError(
                "no font is installed where the worker runs "
                "(Debian: apt-get install fonts-dejavu-core)."
            ) from None
    return HTML, Attachment, FontConfiguration()


def _fetch_nothing(url: str, *_args: Any, **_kwargs: Any) -> Any:
    """The template is whole: whatever a name of a detector says, nothing is loaded."""
    raise ValueError("A report loads nothing from elsewhere.")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _context(document: dict[str, Any], json_file: bytes, csv_file: bytes) -> dict[str, Any]:
    controls = document["controls"]
    period, report = document["period"], document["report"]
    return {
        "document": document,
        "summary": document["summary"],
        "first_day": _day(period["first_day"]),
        "last_day": _day(period["last_day"]),
        "generated": _moment(report["generated_at"]).astimezone(UTC),
        # The template's text is ours; the SVG escapes what it quotes.
        "chart": mark_safe(trend_svg(document["trend"])),  # noqa: S308
        "bands": [{"name": name, "colour": colour} for name, _, colour in BANDS],
        "evidence": _by_group(controls, EVIDENCE),
        "gaps": _by_group(controls, NOT_EVALUATED),
        "beyond": _by_group(controls, NOT_EVALUABLE),
        "reasons": wording.REASONS,
        "unmapped": [
            {**row, "kind": wording.UNMAPPED.get(row["label"], row["label"])}
            for row in document["unmapped"][:MOST_ROWS]
        ],
        "unmapped_more": max(0, len(document["unmapped"]) - MOST_ROWS),
        "lineage": [row for row in document["lineage"] if row["given"] != row["became"]],
        "detectors": document["detectors"][:MOST_ROWS],
        "detectors_more": max(0, document["summary"]["detectors"] - MOST_ROWS),
        "environments": sorted(document["totals"]["by_environment"].items()),
        "versions": _versions(document["versions"]),
        "digests": [
            ("JSON", hashlib.sha256(json_file).hexdigest()),
            ("CSV", hashlib.sha256(csv_file).hexdigest()),
        ],
        "attachment": ATTACHMENT,
    }


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _by_group(controls: list[dict[str, Any]], state: str) -> list[dict[str, Any]]:
    """Controls of a state under their framework's groups, in the framework's order."""
    chosen = [_shown(control) for control in controls if control["state"] == state]
    return [
        {"name": name, "controls": list(members)}
        for name, members in groupby(chosen, key=lambda control: control["group"])
    ]


def _shown(control: dict[str, Any]) -> dict[str, Any]:
    severity = control["by_severity"]
    return {
        **control,
        "shown_labels": control["labels"][:MOST_LABELS],
        "more_labels": max(0, len(control["labels"]) - MOST_LABELS),
        "lesser": severity["low"] + severity["info"] + severity["none"],
        "able": ", ".join(control["able_detectors"]),
        "first_day": control["first_seen"][:10] if control["first_seen"] else "",
        "last_day": control["last_seen"][:10] if control["last_seen"] else "",
    }


def _versions(versions: dict[str, Any]) -> list[tuple[str, str]]:
    events, in_force = versions["events"], versions["in_force"]

    def listed(values: list[Any], none: str = "none") -> str:
        return ", ".join(str(value) for value in values) or none

    def named(files: dict[str, str]) -> str:
        return listed([f"{name} {version}" for name, version in files.items()])

    return [
        ("Framework edition", versions["framework"]),
        ("Crosswalk", versions["crosswalk"]),
        ("Taxonomy", versions["taxonomy"]),
        ("Knowledge release", str(versions["release"])),
        ("Pillars", versions["pillars"]),
        ("Model in force", in_force["model"] or "none: by the rules alone"),
        ("Calibrator in force", in_force["calibrator"] or "none"),
        ("Framework files in force", named(in_force["frameworks"])),
        ("Crosswalks in force", named(in_force["crosswalks"])),
        ("Detector files in force", named(in_force["detectors"])),
        ("Events mapped under taxonomy", listed(events["taxonomies"])),
        ("Events mapped under release", listed(events["releases"])),
        ("Events mapped by model", listed(events["models"], "none: by the rules alone")),
        ("Calibrator", listed(events["calibrators"])),
    ]

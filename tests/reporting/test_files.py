"""What is in the files: JSON by its schema, CSV without formulas, a tagged PDF with the JSON."""

import csv
import hashlib
import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pypdf
import pytest

import reporting
from mapping.selectors import versions_in_force
from reporting.chart import trend_svg, trend_text
from reporting.document import _ranges
from reporting.render_csv import HEADER, render_csv, safe_cell
from reporting.render_json import render_json
from reporting.render_pdf import render_pdf
from tests.reporting.conftest import MadeReport, event, made_report, store

pytestmark = pytest.mark.django_db
FIRST = datetime.now(UTC).date() - timedelta(days=9)
LAST = datetime.now(UTC).date() - timedelta(days=1)
SCHEMA = orjson.loads(Path(reporting.__file__).with_name("report.schema.json").read_bytes())


def at(day: int, hour: int = 12) -> datetime:
    moment = datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), UTC)
    return moment + timedelta(hours=hour)


def events() -> list[dict[str, Any]]:
    return [
        *[event(at(n), "presidio", ["PII.Contact.Email"], severity="low") for n in range(3)],
        event(at(1), "presidio", ["PII.Identifier.NationalID"], severity="high"),
        event(at(2), "openai-moderation-omni", ["OTHER.Safe"], decision="safe", severity="none"),
        event(at(3), "home-made", ["OTHER.Unknown"], decision="fallback", severity="low",
              detector_map_version=None),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(lasting_tenant: Any) -> MadeReport:
    """Made once for all tests that only read it."""
    store(lasting_tenant, *events())
    return made_report(lasting_tenant, "soc2", FIRST.isoformat(), LAST.isoformat())


@pytest.fixture(scope="module")
def empty(lasting_tenant: Any) -> MadeReport:
    """A report over days before anything happened."""
    first, last = FIRST - timedelta(days=40), FIRST - timedelta(days=31)
    return made_report(lasting_tenant, "hipaa", first.isoformat(), last.isoformat())


def check_schema(document: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(
        SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.check_schema(SCHEMA)
    validator.validate(document)


class TestJson:
    def test_schema(self, made: MadeReport) -> None:
        check_schema(made.document)

    def test_schema_of_an_empty_report(self, empty: MadeReport) -> None:
        check_schema(empty.document)
        assert empty.document["totals"]["events"] == 0

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda d: d["controls"][0].update(state="passed"),
            lambda d: d["totals"]["by_outcome"].pop("error"),
            lambda d: d.update(extra=1),
            lambda d: d["notes"].append({"code": "made_up", "text": ""}),
            lambda d: next(c for c in d["controls"] if c["state"] == "evidence").update(events=0),
        ],
    )
    def test_schema_refuses_what_is_wrong(self, made: MadeReport, spoil: Any) -> None:
        document = made.document
        spoil(document)
        with pytest.raises(jsonschema.ValidationError):
            check_schema(document)

    def test_numbers(self, made: MadeReport) -> None:
        document = made.document
        assert document["summary"]["events"] == 6
        assert document["summary"]["events_with_evidence"] == 4
        assert document["summary"]["events_with_evidence_high_or_critical"] == 1
        assert document["summary"]["safe_checks"] == 1
        assert document["summary"]["events_not_mapped"] == 1
        assert document["unmapped"] == [
            {"detector": "home-made", "label": "OTHER.Unknown", "events": 1, "partly": 0}
        ]
        cc67 = made.control("CC6.7")
        assert (cc67["state"], cc67["events"], cc67["direct_events"]) == ("evidence", 4, 4)
        assert cc67["by_severity"]["low"] == 3
        assert cc67["first_seen"] == at(0).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert [b["events"] for b in document["trend"]["buckets"]] == [1, 2, 2, 1, 0, 0, 0, 0, 0]

    def test_gaps_are_not_evaluated(self, made: MadeReport) -> None:
        gap = made.control("CC8.1")
        assert (gap["state"], gap["events"]) == ("not_evaluated", 0)
        beyond = made.control("CC1.1")
        assert (beyond["state"], beyond["reason"]) == (
            "not_evaluable_by_detectors", "no_crosswalk_row"
        )  # fmt: skip
        states = [control["state"] for control in made.document["controls"]]
        assert len(states) == 61
        assert made.document["summary"]["controls_not_evaluated"] == states.count("not_evaluated")

    def test_version_tags(self, made: MadeReport) -> None:
        versions = made.document["versions"]
        assert versions == made.report.versions
        assert versions["framework"] == "soc2@2017"
        assert versions["crosswalk"].startswith("2026.11.")
        assert versions["taxonomy"] == "2026.11"
        assert versions["in_force"] == versions_in_force()
        assert versions["in_force"]["release"] == versions["release"]
        assert versions["events"]["taxonomies"] == ["2026.11"]
        assert versions["events"]["detector_maps"] == {
            "openai-moderation-omni": ["2026.11.1"], "presidio": ["2026.11.1"]
        }  # fmt: skip

    def test_never_says_that_anything_is_met(self, made: MadeReport) -> None:
        text = made.files["json"].decode().lower()
        for word in ("compliant", "passed", "satisfie", "100 %", "100%"):
            assert word not in text


class TestNotes:
    def notes(self, made: MadeReport) -> dict[str, str]:
        return {note["code"]: note["text"] for note in made.document["notes"]}

    def test_days_without_events(self, made: MadeReport) -> None:
        text = self.notes(made)["days_without_events"]
        first, last = FIRST + timedelta(days=4), FIRST + timedelta(days=8)
        assert text.startswith("On 5 of the days")
        assert f"{first} to {last}" in text

    def test_empty(self, empty: MadeReport) -> None:
        notes = self.notes(empty)
        assert "no_events" in notes
        assert "framework_in_part" in notes  # HIPAA: selected provisions
        assert "last_day_not_over" not in notes

    def test_several_editions(self, acme: Any, add_events: Any, make_report: Any) -> None:
        add_events(
            acme.tenant,
            event(at(1), "presidio", ["PII.Contact.Email"]),
            event(at(1), "presidio", ["PII.Old"], taxonomy_version="2025.09", release=7,
                  detector_map_version="2025.09.3"),
        )  # fmt: skip
        made = make_report(acme.tenant, "soc2", FIRST.isoformat(), LAST.isoformat())
        notes = self.notes(made)
        assert "2025.09, 2026.11" in notes["several_taxonomy_editions"]
        assert "PII.Old (1)" in notes["labels_not_in_taxonomy"]
        events = made.document["versions"]["events"]
        assert events["taxonomies"] == ["2025.09", "2026.11"]
        assert events["detector_maps"]["presidio"] == ["2025.09.3", "2026.11.1"]

    def test_today(self, acme: Any, add_events: Any, make_report: Any) -> None:
        today = datetime.now(UTC).date().isoformat()
        made = make_report(acme.tenant, "soc2", today, today)
        assert made.document["report"]["generated_at"] in self.notes(made)["last_day_not_over"]

    def test_events_no_longer_kept(self, acme: Any, make_report: Any, settings: Any) -> None:
        days = settings.CONFIG.retention.events_days
        long_ago = datetime.now(UTC).date() - timedelta(days=days + 5)
        made = make_report(acme.tenant, "soc2", long_ago.isoformat(), long_ago.isoformat())
        assert f"kept for {days} days" in self.notes(made)["events_no_longer_kept"]

    def test_ranges(self) -> None:
        days = [FIRST + timedelta(days=n) for n in (0, 2, 3, 4, 8)]
        assert _ranges(days) == f"{days[0]}, {days[1]} to {days[3]}, {days[4]}"
        many = [FIRST + timedelta(days=2 * n) for n in range(15)]
        assert _ranges(many, 12).endswith("and 3 more")


class TestCsv:
    def rows(self, made: MadeReport) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(made.files["csv"].decode("utf-8-sig"))))

    def test_one_row_a_control_with_its_version_tags(self, made: MadeReport) -> None:
        rows = self.rows(made)
        assert tuple(rows[0]) == HEADER
        assert len(rows) == 61
        found = next(row for row in rows if row["code"] == "CC6.7")
        assert found["control"] == "soc2@2017:CC6.7"
        assert (found["state"], found["events"], found["low"]) == ("evidence", "4", "3")
        assert found["labels"] == "PII.Contact.Email=3; PII.Identifier.NationalID=1"
        assert found["detectors"] == "presidio=4"
        for row in rows:
            assert (row["taxonomy"], row["framework"], row["release"]) == (
                "2026.11", "soc2@2017", str(made.report.release)
            )  # fmt: skip
        gap = next(row for row in rows if row["code"] == "CC8.1")
        assert (gap["state"], gap["events"], gap["first_seen"]) == ("not_evaluated", "0", "")

    def test_lines_end_as_rfc_4180_says(self, made: MadeReport) -> None:
        assert made.files["csv"].startswith(b"\xef\xbb\xbfreport_id,")
        assert made.files["csv"].count(b"\r\n") == 62

    @pytest.mark.parametrize(
        "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =cmd|' /C calc'!A0"]
    )
    def test_formulas_are_defused(self, text: str) -> None:
        assert safe_cell(text) == f"'{text}"

    @pytest.mark.parametrize("value", ["CC6.1", "a=b", "", 0, 12, "presidio=4"])
    def test_other_cells_are_left_alone(self, value: Any) -> None:
        assert safe_cell(value) == value

    def test_a_hostile_name_in_the_file(self, made: MadeReport) -> None:
        document = made.document
        document["report"]["tenant"]["name"] = '=HYPERLINK("http://evil","x")'
        next(c for c in document["controls"] if c["code"] == "CC6.7")["detectors"] = [
            {"detector": "@evil", "events": 1}
        ]
        rows = list(csv.DictReader(io.StringIO(render_csv(document).decode("utf-8-sig"))))
        assert all(row["tenant"].startswith("'=") for row in rows)
        assert next(row for row in rows if row["code"] == "CC6.7")["detectors"] == "'@evil=1"


class TestPdf:
    def reader(self, made: MadeReport) -> pypdf.PdfReader:
        return pypdf.PdfReader(io.BytesIO(made.files["pdf"]))

    def text(self, made: MadeReport) -> str:
        return " ".join(" ".join(p.extract_text().split()) for p in self.reader(made).pages)

    def test_text(self, made: MadeReport) -> None:
        text = self.text(made)
        for part in (
            "Evidence supporting SOC 2", "Lasting Ltd", "Controls with evidence", "CC6.7",
            "Not evaluated", "CC8.1", "not evaluated", "Not evaluable by detectors", "CC1.1",
            "What could not be mapped", "home-made", "Method and versions",
            "Detector files in force", "xstest", "hipaa@2013",
            str(made.report.id), hashlib.sha256(made.files["json"]).hexdigest(),
            hashlib.sha256(made.files["csv"]).hexdigest(),
        ):  # fmt: skip
            assert part in text, part
        lower = text.lower()
        for word in ("compliant", "passed", "satisfie", "100 %", "100%"):
            assert word not in lower

    def test_pages_are_numbered(self, made: MadeReport) -> None:
        pages = self.reader(made).pages
        assert 4 <= len(pages) <= 8
        for number, page in enumerate(pages, start=1):
            assert f"Page {number} of {len(pages)}" in page.extract_text()
            assert [round(float(side)) for side in page.mediabox[2:]] == [595, 842]  # A4

    def test_tagged_and_described(self, made: MadeReport) -> None:
        reader = self.reader(made)
        catalog = reader.trailer["/Root"]
        assert catalog["/MarkInfo"]["/Marked"]
        assert catalog["/Lang"] == "en-GB"
        assert catalog["/ViewerPreferences"]["/DisplayDocTitle"]
        assert reader.metadata is not None
        assert reader.metadata.title.startswith("Coverage report: SOC 2 2017, Lasting Ltd")
        xmp = reader.xmp_metadata
        assert xmp is not None
        assert b'part="3"' in xmp.stream.get_data()  # PDF/A-3, level A
        assert b'conformance="A"' in xmp.stream.get_data()

    def test_the_chart_has_its_numbers_as_alternative_text(self, made: MadeReport) -> None:
        found = [
            str(element["/Alt"])
            for element in self.elements(made)
            if element.get("/S") == "/Figure" and "/Alt" in element
        ]
        day = (FIRST + timedelta(days=1)).isoformat()
        assert len(found) == 1
        assert f"{day}: 2" in found[0]

    def elements(self, made: MadeReport) -> list[Any]:
        reader = self.reader(made)
        found, stack = [], [reader.trailer["/Root"]["/StructTreeRoot"]]
        while stack:
            node = stack.pop().get_object()
            if isinstance(node, pypdf.generic.ArrayObject):
                stack.extend(node)
            elif isinstance(node, pypdf.generic.DictionaryObject):
                found.append(node)
                if "/K" in node:
                    stack.append(node["/K"])
        return found

    def test_headings_and_tables_are_tagged(self, made: MadeReport) -> None:
        kinds = {element.get("/S") for element in self.elements(made)}
        assert {"/H1", "/H2", "/Table", "/TH", "/TD", "/L", "/P"} <= kinds

    def test_the_json_is_attached(self, made: MadeReport) -> None:
        reader = self.reader(made)
        assert list(reader.attachments) == ["report.json"]
        assert reader.attachments["report.json"] == [made.files["json"]]
        files = reader.trailer["/Root"]["/AF"]
        assert {entry.get_object()["/AFRelationship"] for entry in files} == {"/Data"}

    def test_fonts_are_embedded(self, made: MadeReport) -> None:
        fonts = set()
        for page in self.reader(made).pages:
            for font in page["/Resources"]["/Font"].get_object().values():
                descendant = font.get_object()["/DescendantFonts"][0].get_object()
                descriptor = descendant["/FontDescriptor"].get_object()
                assert "/FontFile2" in descriptor or "/FontFile3" in descriptor
                fonts.add(str(descriptor["/FontName"]))
        assert fonts

    def test_an_empty_report_prints(self, empty: MadeReport) -> None:
        text = self.text(empty)
        assert "No event of this period is evidence for a control" in text
        assert "There were no events in this period" in text
        assert "not evaluated" in text

    def test_names_cannot_bring_markup_in(self, made: MadeReport) -> None:
        document = made.document
        document["unmapped"][0]["detector"] = '<img src="file:///etc/passwd"><b>x</b>'
        document["report"]["tenant"]["name"] = "<script>Tenant</script>"
        pdf = render_pdf(document, made.files["json"], made.files["csv"])
        text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)
        text = "".join(text.split())  # kerning makes the extraction put spaces into words
        assert "<script>Tenant</script>" in text
        assert "file:///etc/passwd" in text

    def test_long_lists_are_cut_with_a_hint(self, made: MadeReport) -> None:
        document = made.document
        document["unmapped"] = [
            {"detector": f"d{n}", "label": "OTHER.Unknown", "events": 1, "partly": 0}
            for n in range(75)
        ]
        pdf = render_pdf(document, made.files["json"], made.files["csv"])
        text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)
        assert "15 more rows are in the JSON file" in " ".join(text.split())


def test_equal_documents_give_equal_files(made: MadeReport) -> None:
    document = made.document
    assert render_json(document) == made.files["json"]
    assert render_csv(document) == made.files["csv"]
    assert render_pdf(document, made.files["json"], made.files["csv"]) == made.files["pdf"]


def test_a_machine_without_fonts_says_so(tmp_path: Path) -> None:
    """In a process of its own: pango would end it with a segmentation fault."""
    config = tmp_path / "fonts.conf"
    config.write_text(
        f"<?xml version='1.0'?><fontconfig><dir>{tmp_path}/none</dir>"
        f"<cachedir>{tmp_path}/cache</cachedir></fontconfig>",
        encoding="utf-8",
    )
    script = (
        "import django; django.setup()\n"
        "from reporting.render_pdf import _weasyprint\n"
        "from reporting.errors import PdfUnavailableError\n"
        "try: _weasyprint()\n"
        "except PdfUnavailableError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "FONTCONFIG_FILE": str(config)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "fonts-dejavu-core" in done.stdout, done.stderr


class TestChart:
    def bucket(self, day: str, **severities: int) -> dict[str, Any]:
        names = ("critical", "high", "medium", "low", "info", "none")
        return {
            "first_day": day,
            "last_day": day,
            "evidence_by_severity": {name: severities.get(name, 0) for name in names},
        }

    def test_bars_and_text(self) -> None:
        trend = {
            "unit": "day",
            "buckets": [
                self.bucket("2026-11-01", high=3, low=2),
                self.bucket("2026-11-02"),
                self.bucket("2026-11-03", critical=1),
            ],
        }
        assert trend_text(trend) == (
            "Events with evidence by day (2026-11-01: 5; 2026-11-03: 1; every other day: 0)."
        )
        svg = trend_svg(trend)
        assert svg.count("<rect ") == 3
        assert trend_text(trend) in svg

    @pytest.mark.parametrize("highest", [0, 1, 7, 99, 1_000_000])
    def test_the_axis_reaches_above_the_highest_bar(self, highest: int) -> None:
        import re

        svg = trend_svg({"unit": "day", "buckets": [self.bucket("2026-11-01", low=highest)]})
        marks = [int(text.replace(",", "")) for text in re.findall(r">([\d,]+)</text>", svg)]
        assert max(marks) >= max(1, highest)
        assert len(marks) <= 6
        for y in re.findall(r'<rect [^>]*y="(-?[\d.]+)"', svg):
            assert float(y) >= 0

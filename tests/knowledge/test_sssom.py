"""The SSSOM export: what its reference implementation reads is what the files say.

The reference implementation (`pip install "sssom>=0.4.21,<0.5"`) is no dependency of the tests: it
needs a package that has no wheel. Tests that use it are skipped where it is missing.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from taxonomy.sssom import to_sssom
from taxonomy.vocabularies import Match, read_taxonomies, read_vocabularies

ROOT = Path(__file__).resolve().parents[2] / "pillars-detectors"
VOCABULARIES = read_vocabularies(ROOT)
TAXONOMY = read_taxonomies(ROOT)["2026.11"]
LABELS = list(TAXONOMY.data["labels"])
TEXT = to_sssom(VOCABULARIES, TAXONOMY)


def parse(text: str) -> Any:
    parsers = pytest.importorskip("sssom.parsers", reason="sssom is not installed")
    return parsers.parse_sssom_table(io.StringIO(text))


@pytest.fixture(scope="module")
def parsed() -> Any:
    return parse(TEXT)


def lines() -> list[dict[str, str]]:
    table = "".join(line for line in TEXT.splitlines(True) if not line.startswith("#"))
    return list(csv.DictReader(io.StringIO(table), delimiter="\t"))


def test_the_reference_implementation_finds_it_valid(parsed: Any) -> None:
    reports = pytest.importorskip("sssom.validators").validate(parsed, fail_on_error=True)
    assert reports
    assert all(report.results == [] for report in reports.values())


def test_a_mistake_would_be_found() -> None:
    broken = TEXT.replace("#  ATLAS: https://atlas.mitre.org/techniques/\n", "", 1)
    document = parse(broken)
    with pytest.raises(Exception, match="validation error"):
        pytest.importorskip("sssom.validators").validate(document, fail_on_error=True)


def test_the_parser_keeps_every_row(parsed: Any) -> None:
    assert len(parsed.df) == len(lines())
    # It leaves out rows that are not well formed, with no more than a warning.
    parsers = pytest.importorskip("sssom.parsers")
    mapping_set = parsers.to_mapping_set_document(parsed).mapping_set
    assert len(mapping_set.mappings) == len(lines())


def test_every_label_has_a_row_in_each_vocabulary() -> None:
    expected = sum(len(one.rows(label)) for one in VOCABULARIES for label in LABELS)
    assert len(lines()) == expected
    triples = {
        (line["subject_label"], line["object_source"], line["object_source_version"])
        for line in lines()
    }
    assert len(triples) == len(LABELS) * len(VOCABULARIES)


def test_each_line_says_what_the_file_says() -> None:
    sources = {f"PILLARSSOURCE:{one.vocabulary}@{one.edition}": one for one in VOCABULARIES}
    for line in lines():
        vocabulary = sources[f"{line['object_source']}@{line['object_source_version']}"]
        said = {
            (f"skos:{row.predicate}Match", f"{vocabulary.prefix}:{row.code}")
            if isinstance(row, Match)
            else ("skos:exactMatch", "sssom:NoTermFound")
            for row in vocabulary.rows(line["subject_label"])
        }
        assert (line["predicate_id"], line["object_id"]) in said


def test_the_header() -> None:
    header = yaml.safe_load(
        "".join(line[1:] for line in TEXT.splitlines(True) if line.startswith("#"))
    )
    assert header["mapping_set_id"] == "urn:pillars:mapping-set:2026.11"
    assert header["license"] == "https://www.apache.org/licenses/LICENSE-2.0"
    assert header["subject_source_version"] == "2026.11"
    assert {one.prefix for one in VOCABULARIES} < set(header["curie_map"])
    assert len(set(header["curie_map"].values())) == len(header["curie_map"])
    assert header["curie_map"]["ATLAS"] == "https://atlas.mitre.org/techniques/"


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "labels.sssom.tsv"
    call_command("export_sssom", output=target, json=True)
    assert target.read_text(encoding="utf-8") == TEXT
    assert json.loads(capsys.readouterr().out) == {"output": str(target), "rows": len(lines())}
    call_command("export_sssom")
    assert capsys.readouterr().out == TEXT


def test_the_command_refuses_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=r"Nothing was written\.\n.*holds no vocabulary"):
        call_command("export_sssom", directory=tmp_path, json=True)
    assert "problems" in json.loads(capsys.readouterr().out)
    with pytest.raises(CommandError, match="Name another file with --output"):
        call_command("export_sssom", output=tmp_path)

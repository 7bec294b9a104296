"""Spoilt knowledge files are refused, with the file, the line and what to do."""

import json
import re
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from taxonomy.documents import read_documents
from taxonomy.errors import KnowledgeFileError
from taxonomy.validation import validate
from tests.support.knowledge import versions

TAXONOMY = "taxonomy/2026.11.yaml"
SOC2, ISO = "frameworks/soc2.yaml", "frameworks/iso27001.yaml"
TO_SOC2, TO_ISO = "crosswalks/soc2.yaml", "crosswalks/iso27001.yaml"
TO_PCI = "crosswalks/pci-dss.yaml"
PRESIDIO = "detectors/presidio.yaml"
Edit = Callable[[str, str, str], None]


# Enough to make every mistake in, and quickly read: the whole set is checked once.
KEPT = {
    "taxonomy": {"2026.11"},
    "frameworks": {"soc2", "iso27001", "pci-dss"},
    "crosswalks": {"soc2", "iso27001", "pci-dss"},
    "detectors": {"presidio", "detoxify", "llama-guard-3"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few of the shipped files, copied."""
    from django.conf import settings

    copy = tmp_path / "knowledge"
    shutil.copytree(settings.KNOWLEDGE_DIR / "schemas", copy / "schemas")
    for kind, names in KEPT.items():
        (copy / kind).mkdir()
        for name in names:
            shutil.copy(settings.KNOWLEDGE_DIR / kind / f"{name}.yaml", copy / kind)
    return copy


def validate_config(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The command's JSON, and what it failed with ("" if it did not)."""
    out = StringIO()
    failure = ""
    try:
        call_command(
            "validate_config", "--json", "--files-only", "--directory", folder, *options, stdout=out
        )
    except CommandError as error:
        failure = str(error)
    return json.loads(out.getvalue()), failure


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(KnowledgeFileError) as caught:
        validate(folder, read_documents(folder))
    return caught.value.problems


def test_the_shipped_files_pass() -> None:
    from django.conf import settings

    report, failure = validate_config(settings.KNOWLEDGE_DIR)
    assert (report["problems"], failure) == ([], "")
    assert report["labels"] == 168
    assert report["files"] > 100


def test_a_label_that_no_detector_leads_to_is_a_warning(folder: Path) -> None:
    report, failure = validate_config(folder)
    assert failure == ""
    assert any("no detector's label leads to SECRET." in line for line in report["warnings"])
    assert not any("OTHER." in line for line in report["warnings"])
    _, failure = validate_config(folder, "--strict")
    assert failure == f"{len(report['warnings'])} warnings."


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (TAXONOMY, "labels:\n", "labels: [\n", "Check indentation"),
        (TAXONOMY, "  PII.Person.Age:\n", "  PII.Person.Name:\n", "stands here twice"),
        (TAXONOMY, "  PII.Person.Age:\n", "  42:\n", "`42` is not text"),
        (TAXONOMY, "  PII.Person.Age:\n", "  pii.person.age:\n", "does not match"),
        (TAXONOMY, "  PII.Person.Age:\n", "  PII.Person:\n", "a label and a branch"),
        (TAXONOMY, "severity: medium", "severity: grave", "'grave' is not one of"),
        (TAXONOMY, "severity: low", "severity: none", "is for OTHER.Safe alone"),
        (
            TAXONOMY,
            "severity: low",
            "severity: low\n    parent: PII",
            "Write PII.Person, or leave it out",
        ),
        (TAXONOMY, "severity: low", "severity: low\n    parent: pii.person", "does not match"),
        (TAXONOMY, "severity: low", "severity: low\n    colour: red", "'colour' was unexpected"),
        (TAXONOMY, "aliases: [age,", "aliases: [surname,", "belongs to PII.Person.Name already"),
        (TAXONOMY, "aliases: [age,", "aliases: [Age,", "does not match"),
        (TAXONOMY, "aliases: [age,", "aliases: [no,", "False is not of type 'string'"),
        (TAXONOMY, "  OTHER.Safe:\n", "  OTHER.Secure:\n", "OTHER.Safe alone"),
        (TAXONOMY, 'edition: "2026.11"', "edition: 2026.11", "is not of type 'string'"),
        (TAXONOMY, 'edition: "2026.11"', "edition: 2026-11-24", "is read as date"),
        (SOC2, 'code: "CC1.1"', 'code: "CC1.2"', "stands twice"),
        (SOC2, 'code: "PI1.1"', 'code: "PP1.1"', "not a code of edition 2017"),
        (ISO, 'code: "A.8.15"', 'code: "A.12.4.1"', "not a code of edition 2022"),
        (SOC2, "official_count: 61", "official_count: 64", "64 controls are announced and 61"),
        (SOC2, "framework: soc2", "framework: SOC 2", "does not match"),
        (SOC2, "code_pattern: '^(", "code_pattern: '^((", "is not a 'regex'"),
        (TO_SOC2, 'control: "CC6.1"', 'control: "CC6.9"', "is not in frameworks/soc2.yaml"),
        (TO_ISO, 'control: "A.8.12"', 'control: "A.13.2.1"', "is not in frameworks/iso27001.yaml"),
        (TO_SOC2, "label: PII,", "label: PII.Shoe,", "no label or branch"),
        (TO_SOC2, "label: PII,", "label: OTHER.Unknown,", "does not match"),
        (TO_SOC2, "strength: 8", "strength: 11", "11 is greater than the maximum"),
        (TO_SOC2, "strength: 8", "strength: 0", "0 is less than the minimum"),
        (TO_SOC2, "relationship: intersects", "relationship: similar", "'similar' is not one of"),
        (TO_SOC2, "relationship: intersects", "relationship: not_related", "'none' was expected"),
        (TO_SOC2, 'control: "CC2.1"', 'control: "CC3.2"', "PII and CC3.2 stand twice"),
        (TO_SOC2, 'edition: "2017"', 'edition: "2022"', "no file for soc2@2022"),
        (TO_SOC2, 'version: "2026.11.1"', 'version: "2025.09.1"', "another taxonomy than 2026.11"),
        (TO_SOC2, 'version: "2026.11.1"', 'version: "v1"', "does not match"),
        (
            TO_PCI,
            "no_controls:\n  - {label: PII,",
            "no_controls:\n  - {label: SECRET,",
            "SECRET has controls in rows",
        ),
        (TO_PCI, "{label: BIAS,", "{label: PII,", "PII stands twice"),
        (TO_PCI, "{label: BIAS,", "{label: BLAS,", "BLAS is no label or branch"),
        (PRESIDIO, "PII.Person.Age", "PII.Person.Years", "not in taxonomy 2026.11"),
        (
            PRESIDIO,
            "  AGE: {canonical: PII.Person.Age",
            "  AGE: {severity: low",
            "is not valid under",
        ),
        (PRESIDIO, "  AGE: {", "  AGE: {unmapped: unclear what, ", "is valid under each of"),
        (PRESIDIO, "  AGE: {", "  AU_ABN: {", "stands here twice"),
        (PRESIDIO, "detector: presidio\n", "detector: Presidio!\n", "does not match"),
        (PRESIDIO, "threshold: 0.5", "threshold: 5", "5 is greater than the maximum"),
        (PRESIDIO, "threshold: 0.5", "treshold: 0.5", "'treshold' was unexpected"),
        (PRESIDIO, versions("presidio")[0], 'version: "one"', "does not match"),
        (PRESIDIO, versions("presidio")[0] + "\n", "", "'version' is a required property"),
        (PRESIDIO, "recipes:\n", "recipes: []\nold:\n", "'old' was unexpected"),
    ],
)
def test_one_mistake_gives_one_clear_line(
    folder: Path, edit: Edit, file: str, old: str, new: str, message: str
) -> None:
    edit(file, old, new)
    report, failure = validate_config(folder)
    problems = report["problems"]
    assert failure == f"{len(problems)} problems."
    fitting = [problem for problem in problems if message in problem]
    assert fitting, problems
    assert re.match(rf"{re.escape(file)}:\d+: ", fitting[0])
    assert fitting[0].rstrip().endswith((".", "]", "$"))


def test_a_parent_may_be_written_out(folder: Path, edit: Edit) -> None:
    edit(TAXONOMY, "  PII.Person.Age:\n", "  PII.Person.Age:\n    parent: PII.Person\n")
    assert validate_config(folder)[0]["problems"] == []
    edit(TAXONOMY, "parent: PII.Person\n", "parent: PII.Contact\n")
    line = (folder / TAXONOMY).read_text(encoding="utf-8").splitlines().index
    assert problems_of(folder) == (
        f"{TAXONOMY}:{line('    parent: PII.Contact') + 1}: labels.PII.Person.Age.parent: "
        "PII.Contact is not the parent of PII.Person.Age. Write PII.Person, or leave it out: it "
        "follows from the name.",
    )


def test_the_line_is_the_line_of_the_mistake(folder: Path, edit: Edit) -> None:
    edit(TO_SOC2, 'control: "P8.1"', 'control: "P9.1"')
    lines = (folder / TO_SOC2).read_text(encoding="utf-8").splitlines()
    expected = next(number for number, line in enumerate(lines, 1) if '"P9.1"' in line)
    (problem,) = problems_of(folder)
    assert problem.startswith(f"{TO_SOC2}:{expected}: rows[")


def test_all_problems_come_at_once(folder: Path, edit: Edit) -> None:
    edit(TO_SOC2, 'control: "CC6.1"', 'control: "CC6.9"')
    edit(TO_ISO, 'control: "A.8.12"', 'control: "A.9.1"')
    edit(SOC2, 'code: "PI1.1"', 'code: "PP1.1"')
    assert {problem.split(":")[0] for problem in problems_of(folder)} == {TO_SOC2, TO_ISO, SOC2}


def test_two_files_about_one_thing(folder: Path) -> None:
    (folder / "frameworks" / "soc2-copy.yaml").write_text((folder / SOC2).read_text())
    assert "is about the same as" in problems_of(folder)[0]


def test_missing_parts(folder: Path) -> None:
    with pytest.raises(KnowledgeFileError, match="no such folder"):
        read_documents(folder / "nowhere")
    (folder / "schemas" / "framework.schema.json").unlink()
    assert "the schema is missing" in problems_of(folder)[0]
    (folder / TAXONOMY).unlink()
    assert "holds no edition" in problems_of(folder)[0]


def test_a_file_that_is_no_object(folder: Path) -> None:
    (folder / SOC2).write_text("- a\n- list\n")
    assert problems_of(folder) == (
        "frameworks/soc2.yaml:1: `key: value` lines are needed here. Write an object.",
    )


def test_a_file_that_is_not_utf8(folder: Path) -> None:
    (folder / SOC2).write_bytes(b"framework: \xff\xfe")
    assert "Check rights and UTF-8" in problems_of(folder)[0]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("vocabularies/mitre-atlas.yaml", "predicate: ", "predicate: like-", "is not one of"),
        (
            "migrations/2025.09-2026.11.yaml",
            "  - {label: PII.Other",
            "  - {label: PII.Odd",
            "is not in edition",
        ),
        (
            "migrations/2025.09-2026.11.yaml",
            'from: "2025.09"',
            'from: "2024.01"',
            "names no editions",
        ),
    ],
)
def test_vocabularies_and_plans_are_checked_too(
    tmp_path: Path, edit: Edit, file: str, old: str, new: str, message: str
) -> None:
    from django.conf import settings

    folder = tmp_path / "knowledge"  # where `edit` looks
    shutil.copytree(settings.KNOWLEDGE_DIR, folder, dirs_exist_ok=True)
    edit(file, old, new)
    report, failure = validate_config(folder)
    assert failure
    assert any(line.startswith(file) and message in line for line in report["problems"])

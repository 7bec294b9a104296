"""`manage.py add_detector`: a file that is valid, with honest gaps, and cases that are right."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import CommandError, call_command

from mapping.onboarding.lists import OnboardingError, VendorLabel, read_label_list

LIST = """label,description
EMAIL_ADDRESS,An e-mail address of a person
Bank-Account,
ZX-81,
"quote: ""it""; # [odd]",Threats of violence against a person
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The schemas, the taxonomy and one detector."""
    for kind in ("schemas", "taxonomy"):
        shutil.copytree(settings.KNOWLEDGE_DIR / kind, tmp_path / kind)
    (tmp_path / "detectors").mkdir()
    shutil.copy(settings.KNOWLEDGE_DIR / "detectors" / "detoxify.yaml", tmp_path / "detectors")
    return tmp_path


def add(folder: Path, text: str, name: str = "new-one", *options: str) -> dict[str, Any]:
    source = folder / "labels.txt"
    source.write_text(text)
    out = io.StringIO()
    call_command(
        "add_detector", name, "--vendor", "ACME: a & b", "--category", "pii",
        "--source", "https://example.org/labels", "--labels", str(source),
        "--directory", folder, "--json", *options, stdout=out,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_names_and_aliases_are_chosen_and_the_rest_left_open(folder: Path) -> None:
    report = add(folder, LIST)
    chosen = {row["label"]: row["canonical"] for row in report["labels"]}
    assert chosen == {
        "EMAIL_ADDRESS": "PII.Contact.Email",
        "Bank-Account": "PII.Financial.BankAccount",
        "ZX-81": None,
        'quote: "it"; # [odd]': None,
    }
    text = (folder / "detectors" / "new-one.yaml").read_text()
    document = yaml.safe_load(text)
    assert document["vendor"] == "ACME: a & b"
    assert document["labels"]["ZX-81"] == {"unmapped": "not decided yet"}
    assert "  # Perhaps: nothing near; see the taxonomy\n  ZX-81:" in text
    assert document["labels"]["EMAIL_ADDRESS"]["meaning"] == "An e-mail address of a person"


def test_the_files_are_valid_and_the_cases_right(folder: Path) -> None:
    add(folder, LIST)
    call_command("validate_config", "--files-only", "--directory", folder, stdout=io.StringIO())
    out = io.StringIO()
    call_command("check_golden", "--directory", folder, "--minimum", "1", stdout=out)
    assert "4 of 4 cases right" in out.getvalue()


def test_likeness_counts_when_it_is_asked_for(folder: Path) -> None:
    report = add(folder, LIST, "new-one", "--accept-lexical")
    (row,) = (row for row in report["labels"] if row["label"].startswith("quote"))
    assert row["canonical"] == row["proposals"][0]["canonical"] is not None
    assert row["proposals"][0]["reason"] == "lexical"


def test_nothing_is_overwritten(folder: Path) -> None:
    before = (folder / "detectors" / "detoxify.yaml").read_text()
    with pytest.raises(CommandError, match="exists already"):
        add(folder, "toxicity\n", "detoxify")
    assert (folder / "detectors" / "detoxify.yaml").read_text() == before


def test_a_file_that_would_be_refused_is_not_left_behind(folder: Path) -> None:
    with pytest.raises(CommandError, match="is not one of"):
        add(folder, "email\n", "new-one", "--category", "everything")
    assert not (folder / "detectors" / "new-one.yaml").exists()
    assert not (folder / "golden" / "new-one.jsonl").exists()


def test_a_bad_name(folder: Path) -> None:
    with pytest.raises(CommandError, match="small letters, digits and hyphens"):
        add(folder, "email\n", "../evil")


@pytest.mark.parametrize(
    "text",
    [
        "email\nphone\n",
        '["email", "phone"]',
        '[{"name": "email"}, {"name": "phone"}]',
        '{"labels": ["email", "phone"]}',
        "- email\n- phone\n",
        "labels:\n  - email\n  - phone\n",
        "Label;Severity\nemail;high\nphone;low\n",
    ],
)
def test_lists_in_many_forms(text: str) -> None:
    assert read_label_list(text) == [VendorLabel("email"), VendorLabel("phone")]


@pytest.mark.parametrize(
    "text",
    [
        '{"email": "an address", "phone": ""}',
        "email: an address\nphone: ''\n",
        "id,definition\nemail,an  address\nphone,\n",
        '[{"code": "email", "description": "an address"}, "phone"]',
    ],
)
def test_lists_with_descriptions(text: str) -> None:
    assert read_label_list(text) == [VendorLabel("email", "an address"), VendorLabel("phone")]


def test_yaml_words_stay_labels() -> None:
    assert [one.label for one in read_label_list("- no\n- 1.10\n- null\n")] == [
        "no",
        "1.10",
        "null",
    ]


@pytest.mark.parametrize("text", ["", " \n\n", "[]", "{}", "x" * 300])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(OnboardingError):
        read_label_list(text)

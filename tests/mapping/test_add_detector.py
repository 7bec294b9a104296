"""`manage.py add_detector`: a file that is valid, with honest gaps, and cases that are right."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import CommandError, call_command

from mapping import resolvers
from mapping.onboarding.lists import OnboardingError, VendorLabel, read_label_list
from mapping.onboarding.proposing import MOST, proposals_of_files
from mapping.resolver.types import LabelQuestion
from taxonomy.documents import read_documents
from taxonomy.validation import newest_taxonomy

LIST = """label,description
EMAIL_ADDRESS,An e-mail address of a person
Bank-Account,
ZX-81,
"quote: ""it""; # [odd]",Threats of violence against a person
threat_of_harm,Threats of violence against a person
no_issue,Nothing was found
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


def test_names_and_what_is_sure_are_chosen_and_the_rest_left_open(folder: Path) -> None:
    report = add(folder, LIST)
    chosen = {row["label"]: row["canonical"] for row in report["labels"]}
    assert chosen == {
        "EMAIL_ADDRESS": "PII.Contact.Email",
        "Bank-Account": "PII.Financial.BankAccount",
        "ZX-81": None,
        'quote: "it"; # [odd]': None,
        "threat_of_harm": "HARM.SPEECH.Threat",
        "no_issue": None,  # not a finding: that needs a person's reason
    }
    assert report["without_retrieval"] == ""
    text = (folder / "detectors" / "new-one.yaml").read_text()
    document = yaml.safe_load(text)
    assert document["vendor"] == "ACME: a & b"
    assert document["labels"]["ZX-81"] == {"unmapped": "not decided yet"}
    assert re.search(r"  # Perhaps: \S+ \(0\.[01]\d\), .*\n  ZX-81:", text)
    assert re.search(r"  # Perhaps: not_a_finding \((0\.9\d|1\.00)\).*\n  no_issue:", text)
    assert document["labels"]["EMAIL_ADDRESS"]["meaning"] == "An e-mail address of a person"


def test_the_files_are_valid_and_the_cases_right(folder: Path) -> None:
    add(folder, LIST)
    call_command("validate_config", "--files-only", "--directory", folder, stdout=io.StringIO())
    out = io.StringIO()
    call_command("check_golden", "--directory", folder, "--minimum", "1", stdout=out)
    assert "5 of 5 cases right" in out.getvalue()


def test_likeness_counts_when_it_is_asked_for(folder: Path) -> None:
    text = "label,description\nodd_money_talk,Talk about money\nrough_words,\nstreet_corner,\n"
    without = {row["label"]: row for row in add(folder, text)["labels"]}
    (folder / "detectors" / "new-one.yaml").unlink()  # what it leaves open counts too
    rows = add(folder, text, "another-one", "--accept-lexical")["labels"]
    threshold = settings.CONFIG.mapping.confidence_threshold
    unsure = [
        row
        for row in rows
        if row["proposals"][0]["canonical"] != "not_a_finding" and row["confidence"] < threshold
    ]
    assert unsure
    for row in unsure:
        assert row["canonical"] == row["proposals"][0]["canonical"] is not None
        assert row["proposals"][0]["reason"] == "retrieval"
        assert without[row["label"]]["canonical"] is None


def test_candidates_and_confidence(folder: Path) -> None:
    rows = {row["label"]: row for row in add(folder, LIST)["labels"]}
    sure = rows["threat_of_harm"]
    assert sure["confidence"] >= settings.CONFIG.mapping.confidence_threshold
    for row in rows.values():
        shares = [p["share"] for p in row["proposals"] if p["reason"] == "retrieval"]
        assert len(row["proposals"]) <= MOST
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1.0001
    named = rows["EMAIL_ADDRESS"]
    assert named["proposals"][0]["reason"] in ("exact", "alias")
    assert named["confidence"] is None


def test_the_report_for_people(folder: Path) -> None:
    (folder / "labels.txt").write_text(LIST)
    out = io.StringIO()
    call_command(
        "add_detector", "new-one", "--vendor", "ACME", "--category", "pii", "--source", "x y z",
        "--labels", str(folder / "labels.txt"), "--directory", folder, stdout=out,
    )  # fmt: skip
    assert re.search(r"threat_of_harm +HARM\.SPEECH\.Threat \(retrieval \d+%\)", out.getvalue())
    assert re.search(r"no_issue +undecided: not_a_finding \d+ %", out.getvalue())


def test_what_the_files_of_the_folder_say_counts(folder: Path) -> None:
    text = (folder / "detectors" / "detoxify.yaml").read_text()
    before = add(folder, "zx_quoxil\n")["labels"][0]
    known = "labels:\n  zx_quoxil: {canonical: PII.Contact.Phone}\n"
    (folder / "detectors" / "detoxify.yaml").write_text(text.replace("labels:\n", known, 1))
    after = add(folder, "zx_quoxil\n", "newer-one")["labels"][0]
    assert before["canonical"] is None
    assert after["proposals"][0]["canonical"] == "PII.Contact.Phone"
    assert after["confidence"] > before["confidence"]


def test_without_models_words_propose_and_the_report_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolvers._artifacts.cache_clear()
    monkeypatch.setattr(resolvers, "artifacts_folder", lambda: folder)
    try:
        report = add(folder, LIST)
    finally:
        resolvers._artifacts.cache_clear()
    assert "the encoder cannot be loaded" in report["without_retrieval"]
    rows = {row["label"]: row for row in report["labels"]}
    assert rows["threat_of_harm"]["canonical"] is None
    assert rows["threat_of_harm"]["proposals"][0]["reason"] == "lexical"
    assert rows["EMAIL_ADDRESS"]["canonical"] == "PII.Contact.Email"
    text = (folder / "detectors" / "new-one.yaml").read_text()
    assert "  # Perhaps: nothing near; see the taxonomy\n  ZX-81:" in text


def test_an_edition_that_no_calibrator_fits_is_told() -> None:
    taxonomy = newest_taxonomy(read_documents(settings.KNOWLEDGE_DIR)).data
    fitting = proposals_of_files(taxonomy, [])  # the first detector: no file is there yet
    (first,) = fitting.propose([LabelQuestion("new-one", "threat_of_harm")])
    assert first.candidates[0][:2] == ("HARM.SPEECH.Threat", "retrieval")
    other = proposals_of_files({**taxonomy, "edition": "2031.01"}, [])
    assert fitting.why_not == ""
    assert "No calibrator was fitted for this edition of the taxonomy" in other.why_not
    (proposed,) = other.propose([LabelQuestion("new-one", "threat_of_harm")])
    assert {one.reason for one in proposed.candidates} == {"lexical"}
    assert proposed.confidence is None


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

"""`manage.py check_golden` and `manage.py show_versions`."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client

from tests.support.knowledge import version_of


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The schemas and the taxonomy, one detector and its cases."""
    shutil.copytree(settings.KNOWLEDGE_DIR / "schemas", tmp_path / "schemas")
    shutil.copytree(settings.KNOWLEDGE_DIR / "taxonomy", tmp_path / "taxonomy")
    for name in ("detectors/detoxify.yaml", "golden/detoxify.jsonl"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(settings.KNOWLEDGE_DIR / name, tmp_path / name)
    return tmp_path


def test_the_shipped_cases_are_right() -> None:
    report = json.loads(run("check_golden", "--json"))
    assert report["share"] >= 0.99, report["misses"]
    assert report["label_share"] >= 0.95, report["labels_missing"]
    assert report["cases"] == sum(one["cases"] for one in report["detectors"].values())
    assert report["detectors"].keys() == {
        path.stem for path in (settings.KNOWLEDGE_DIR / "detectors").glob("*.yaml")
    }


def test_a_changed_meaning_is_noticed(folder: Path) -> None:
    file = folder / "detectors" / "detoxify.yaml"
    text = file.read_text()
    assert "HARM.SPEECH.Threat" in text
    file.write_text(text.replace("HARM.SPEECH.Threat", "HARM.SPEECH.Insult"))
    with pytest.raises(CommandError, match=r"of the cases are right; 99\.00% must be"):
        run("check_golden", "--directory", folder)
    out = run("check_golden", "--directory", folder, "--minimum", "0")
    first = out.splitlines()[0]
    assert first.startswith("golden/detoxify.jsonl:")
    assert "expected HARM.SPEECH.Threat" in out


def test_one_detector_of_many() -> None:
    assert "1 detectors" in run("check_golden", "presidio")
    with pytest.raises(CommandError, match="no cases for presidia"):
        run("check_golden", "presidia")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "A case is"),
        ('{"id": "x", "output": "toxic"}', "KeyError 'expect'"),
        ('{"id": "x", "output": 1, "expect": {"decision": "safe"}}', "KeyError 'labels'"),
    ],
)
def test_a_spoilt_case_names_its_line(folder: Path, line: str, message: str) -> None:
    file = folder / "golden" / "detoxify.jsonl"
    count = len(file.read_text().splitlines())
    with file.open("a") as cases:
        cases.write(f"{line}\n")
    with pytest.raises(CommandError, match=message) as caught:
        run("check_golden", "--directory", folder)
    assert str(caught.value).startswith(f"golden/detoxify.jsonl:{count + 1}: ")


def test_an_id_that_stands_twice(folder: Path) -> None:
    file = folder / "golden" / "detoxify.jsonl"
    first = file.read_text().splitlines()[0]
    with file.open("a") as cases:
        cases.write(f"{first}\n")
    with pytest.raises(CommandError, match="stands twice"):
        run("check_golden", "--directory", folder)


@pytest.mark.django_db
def test_versions_are_those_of_the_files(client: Client) -> None:
    versions = json.loads(run("show_versions", "--json"))
    assert versions["taxonomy"] == "2026.11"
    assert versions["detectors"]["presidio"] == version_of("presidio")
    assert len(versions["frameworks"]) == len(versions["crosswalks"]) == 16
    assert versions["model"] is versions["calibrator"] is None
    text = run("show_versions")
    assert f"release      {versions['release']}" in text
    assert "presidio" in text

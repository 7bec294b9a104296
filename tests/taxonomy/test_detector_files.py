"""Detector files carried from one taxonomy edition to another: text, refusals, all or none."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from taxonomy import detector_files
from taxonomy.detector_files import migrate_detector_files
from taxonomy.errors import KnowledgeFileError, NoPlanError
from taxonomy.models import MigrationPlanEdition

pytestmark = pytest.mark.django_db
OLD, NEW = "2025.09", "2026.11"
MODERATION = """\
# Our own notes stay.
detector: openai-moderation
version: '2025.09.3'   # raised by the migration
labels:
  violence: {canonical: HARM.VIOLENCE.Physical}   # the wider one
  violence/graphic:
    canonical: "HARM.VIOLENCE.Physical"
    severity: high
  self-harm: {canonical: [HARM.VIOLENCE.SelfHarm, PII.Other]}
  "größe":   {canonical: HARM.SPEECH.Obscenity}
  safe: {not_a_finding: nothing was found}
"""
CARRIED = """\
# Our own notes stay.
detector: openai-moderation
version: '2026.11.1'   # raised by the migration
labels:
  violence: {canonical: HARM.VIOLENCE.Physical}   # the wider one
  violence/graphic:
    canonical: "HARM.VIOLENCE.Graphic"
    severity: high
  self-harm: {canonical: [HARM.SELF_HARM.General, PII.Other]}
  "größe":   {canonical: HARM.SPEECH.Profanity}
  safe: {not_a_finding: nothing was found}
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, text): a file of the folder detectors/."""
    folder = tmp_path / "detectors"
    folder.mkdir()

    def put(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return put


def small(labels: str, version: str = "2025.09.1") -> str:
    return f'detector: d\nversion: "{version}"\nlabels:\n{labels}'


def migrate(path: Path, **more: Any) -> list[detector_files.FileChange]:
    return migrate_detector_files(directory=path.parent, old=OLD, new=NEW, **more)


def problems(path: Path) -> list[str]:
    with pytest.raises(KnowledgeFileError) as caught:
        migrate(path)
    return list(caught.value.problems)


def test_only_labels_and_version_change(write: Write) -> None:
    path = write("openai-moderation.yaml", MODERATION)
    (change,) = migrate(path)
    assert path.read_text(encoding="utf-8") == CARRIED
    assert (change.labels, change.version) == (3, "2026.11.1")
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_line_ends_stay(write: Write) -> None:
    path = write("openai-moderation.yaml", "")
    path.write_bytes(MODERATION.replace("\n", "\r\n").encode())
    migrate(path)
    assert path.read_bytes() == CARRIED.replace("\n", "\r\n").encode()


def test_a_dry_run_writes_nothing(write: Write) -> None:
    path = write("openai-moderation.yaml", MODERATION)
    assert migrate(path, write=False)[0].labels == 3
    assert path.read_text(encoding="utf-8") == MODERATION


def test_files_of_another_edition_are_left_alone(write: Write) -> None:
    path = write("openai-moderation.yaml", MODERATION)
    other = write("d.yaml", small("  x: {canonical: PII.Financial.CreditCard}\n", "2026.11.4"))
    before = other.read_text()
    assert len(migrate(path)) == 1
    assert other.read_text() == before
    assert "holds no detector file whose version begins with 2025.09" in problems(path)[0]


def test_a_retired_label_is_refused_with_its_line(write: Write) -> None:
    document = MigrationPlanEdition.objects.get().document
    steps = [
        {"label": s["label"], "retire": "Nobody ever used it."} if s["label"] == "PII.Other" else s
        for s in document["steps"]
    ]
    MigrationPlanEdition.objects.create(
        old=OLD, new=NEW, version="2026.11.2", sha256="5" * 64,
        document={**document, "version": "2026.11.2", "steps": steps},
    )  # fmt: skip
    path = write("openai-moderation.yaml", MODERATION)
    assert problems(path) == [
        "detectors/openai-moderation.yaml:9: labels.self-harm: PII.Other is retired in 2026.11. "
        "Choose another, or `unmapped`."
    ]
    assert path.read_text(encoding="utf-8") == MODERATION


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ("  x: {canonical: PII.Nothing}\n", "d.yaml:4: labels.x: The plan from 2025.09 to 2026.11 "
         "says nothing of PII.Nothing. Correct the name, or add a step to the plan."),
        ("  y: {canonical: PII.Other}\n"
         "  x: {canonical: [PROMPT_INJECTION.Other, PROMPT_INJECTION.PolicyOverride]}\n",
         "d.yaml:5: labels.x: two of its labels become the same. Keep one of them."),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_refused(write: Write, labels: str, problem: str) -> None:
    other = write("openai-moderation.yaml", MODERATION)
    path = write("d.yaml", small(labels))
    assert problems(path) == [f"detectors/{problem}"]
    assert other.read_text(encoding="utf-8") == MODERATION  # all or none


@pytest.mark.parametrize("alias", ["*a", "{<<: *a, severity: low}"])
def test_an_anchor_for_labels_that_part_ways_is_refused(write: Write, alias: str) -> None:
    labels = f"  violence: &a {{canonical: HARM.VIOLENCE.Physical}}\n  violence/graphic: {alias}\n"
    path = write("d.yaml", small(labels).replace("detector: d", "detector: openai-moderation"))
    assert problems(path) == [
        "detectors/d.yaml:1: an anchor stands for labels that part ways. Write them out."
    ]


def test_an_anchor_that_stays_one_label_is_carried(write: Write) -> None:
    path = write("d.yaml", small("  x: &a {canonical: HARM.SPEECH.Obscenity}\n  y: *a\n"))
    migrate(path)
    labels = yaml.safe_load(path.read_text())["labels"]
    assert labels == {key: {"canonical": "HARM.SPEECH.Profanity"} for key in "xy"}


def test_a_file_that_cannot_be_replaced_leaves_all_as_they_were(
    write: Write, monkeypatch: Any
) -> None:
    first = write("d.yaml", small("  x: {canonical: HARM.SPEECH.Obscenity}\n"))
    second = write("openai-moderation.yaml", MODERATION)
    before = first.read_text()
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == second:
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left on device" in problems(first)[0]
    assert (first.read_text(), second.read_text(encoding="utf-8")) == (before, MODERATION)
    assert len(list(first.parent.iterdir())) == 2


def test_without_a_plan(write: Write) -> None:
    path = write("d.yaml", small("  x: {canonical: PII.Other}\n"))
    with pytest.raises(NoPlanError, match="No migration plan from 2024"):
        migrate_detector_files(directory=path.parent, old="2024.01", new=NEW)


def test_the_command(write: Write) -> None:
    path = write("openai-moderation.yaml", MODERATION)
    out = StringIO()
    arguments = ("apply_migration", OLD, NEW, "--detector-files", path.parent)
    call_command(*arguments, "--dry-run", stdout=out)
    assert path.read_text(encoding="utf-8") == MODERATION
    call_command(*arguments, stdout=out)
    assert out.getvalue() == "openai-moderation.yaml: 3 labels, version 2026.11.1\n" * 2
    assert path.read_text(encoding="utf-8") == CARRIED
    with pytest.raises(CommandError, match="No detector file was changed"):
        call_command(*arguments, stdout=out)

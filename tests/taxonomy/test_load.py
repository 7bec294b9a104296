"""Loading the knowledge: idempotent, all or nothing, and every edition kept for ever."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from django.db.models import Model

from audit.models import AuditEntry
from taxonomy import models, signals
from taxonomy.documents import KINDS
from taxonomy.errors import KnowledgeFileError, NoReleaseError
from taxonomy.selectors import (
    controls_for,
    current_documents,
    current_release,
    current_serial,
    documents_of,
)
from taxonomy.services import load_knowledge

Edit = Callable[[str, str, str], None]
ACTOR = "system:tests"
SOC2 = "crosswalks/soc2.yaml"

pytestmark = pytest.mark.django_db


def load(folder: Path) -> Any:
    return load_knowledge(directory=folder, actor=ACTOR)


def counts() -> dict[str, int]:
    return {
        model.__name__: model.objects.count()  # type: ignore[attr-defined]
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, Model) and not model._meta.abstract
    }


def test_the_shipped_files_are_in_force(folder: Path) -> None:
    release = current_release()
    assert release is not None
    assert release.taxonomy.labels.count() == 168
    controls = {str(f): f.controls.count() for f in release.frameworks.all()}
    assert controls["soc2@2017"] == 61
    assert (controls["owasp-llm@2025"], controls["owasp-llm@2026"]) == (10, 10)
    assert (len(controls), sum(controls.values())) == (16, 927)
    files = sorted((folder / "detectors").glob("*.yaml"))
    assert release.detectors.count() == len(files)
    assert {c.rows.count() > 50 for c in release.crosswalks.all()} == {True}


def test_documents_are_the_files(folder: Path) -> None:
    documents = current_documents()

    def files(kind: str) -> list[Any]:
        return [yaml.safe_load(p.read_text()) for p in sorted((folder / kind).glob("*.yaml"))]

    assert documents.serial == current_serial()
    assert documents.taxonomy == files("taxonomy")[-1]
    for kind in ("detectors", "frameworks", "crosswalks"):
        found, expected = getattr(documents, kind), files(kind)
        assert len(found) == len(expected)
        assert all(document in found for document in expected)


def test_every_label_of_a_detector_is_laid_out() -> None:
    release = current_release()
    assert release is not None
    for detector in release.detectors.all():
        labels = {row.label: row for row in detector.labels.all()}
        assert set(labels) == set(detector.document["labels"])
        for row in labels.values():
            assert bool(row.canonical) == (row.disposition == models.Disposition.MAPPED)
            assert bool(row.reason) == (row.disposition != models.Disposition.MAPPED)


def test_loading_the_same_again_changes_nothing(folder: Path) -> None:
    before, serial = counts(), current_serial()
    (folder / "taxonomy" / "2026.11.yaml").open("a").write("\n# a comment is not content\n")
    report = load(folder)
    assert (report.released, report.serial, report.added) == (False, serial, [])
    # Vocabularies lie beside the others, but are no part of a release.
    files = [path for kind in (*KINDS, "migrations") for path in (folder / kind).glob("*.yaml")]
    assert len(report.unchanged) == len(files)
    assert counts() == before


def test_other_content_under_the_same_version_is_refused(folder: Path, edit: Edit) -> None:
    before = counts()
    edit(SOC2, "strength: 8", "strength: 7")
    with pytest.raises(KnowledgeFileError) as caught:
        load(folder)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("crosswalks/soc2.yaml:")
    assert "2026.11.1 is loaded already" in caught.value.problems[0]
    assert "new version" in caught.value.problems[0]
    assert counts() == before


def test_a_new_version_is_released_and_the_old_one_kept(folder: Path, edit: Edit) -> None:
    old_serial = current_serial()
    assert old_serial is not None
    old = documents_of(old_serial)
    edit(SOC2, 'version: "2026.11.1"', 'version: "2026.11.2"')
    edit(SOC2, "strength: 8", "strength: 7")
    report = load(folder)
    assert (report.released, report.serial, report.added) == (True, old_serial + 1, [SOC2])
    new = current_documents()
    assert new.serial == old_serial + 1
    assert "2026.11.2" in {crosswalk["version"] for crosswalk in new.crosswalks}
    assert documents_of(old_serial) == old
    entry = AuditEntry.objects.get(action="knowledge.released", target=str(report.serial))
    assert (entry.actor, entry.detail) == (ACTOR, {"added": [SOC2]})


def test_going_back_is_a_new_release_of_old_editions(folder: Path, edit: Edit) -> None:
    original = (folder / SOC2).read_text(encoding="utf-8")
    first = current_release()
    assert first is not None
    edit(SOC2, 'version: "2026.11.1"', 'version: "2026.11.2"')
    load(folder)
    (folder / SOC2).write_text(original, encoding="utf-8")
    before = counts()["CrosswalkEdition"]
    report = load(folder)
    back = current_release()
    assert back is not None
    assert (report.released, report.added, back.serial) == (True, [], first.serial + 2)
    assert back.sha256 == first.sha256
    assert counts()["CrosswalkEdition"] == before


def test_a_file_that_is_gone_leaves_the_next_release(folder: Path) -> None:
    (folder / "crosswalks" / "hipaa.yaml").unlink()
    (folder / "frameworks" / "hipaa.yaml").unlink()
    report = load(folder)
    assert report.released
    left = {f["framework"] for f in current_documents().frameworks}
    assert "hipaa" not in left
    assert {"soc2", "iso27001", "owasp-llm"} <= left


def test_a_newer_taxonomy_needs_crosswalks_of_its_own(folder: Path) -> None:
    text = (folder / "taxonomy" / "2026.11.yaml").read_text(encoding="utf-8")
    newer = text.replace('edition: "2026.11"', 'edition: "2027.01"')
    (folder / "taxonomy" / "2027.01.yaml").write_text(newer, encoding="utf-8")
    with pytest.raises(KnowledgeFileError, match=r"another taxonomy than 2027\.01"):
        load(folder)
    for path in (folder / "crosswalks").glob("*.yaml"):
        path.write_text(path.read_text().replace('"2026.11.', '"2027.01.'), encoding="utf-8")
    report = load(folder)
    release = current_release()
    assert report.released
    assert release is not None
    assert release.taxonomy.edition == "2027.01"


def test_another_app_can_stop_a_load(folder: Path, edit: Edit) -> None:
    seen = []

    def refuse(documents: Any, **kwargs: Any) -> list[str]:
        seen.append(documents)
        return ["detectors/x.yaml:1: recipe cannot be compiled. Correct it."]

    edit(SOC2, 'version: "2026.11.1"', 'version: "2026.11.2"')
    before = counts()
    signals.knowledge_checked.connect(refuse)
    try:
        with pytest.raises(KnowledgeFileError, match="recipe cannot be compiled"):
            load(folder)
    finally:
        signals.knowledge_checked.disconnect(refuse)
    assert counts() == before
    assert seen[0].serial == (current_serial() or 0) + 1
    assert seen[0].taxonomy["edition"] == "2026.11"


IMMUTABLE = [
    models.TaxonomyEdition,
    models.Label,
    models.DetectorMap,
    models.DetectorLabel,
    models.FrameworkEdition,
    models.Control,
    models.CrosswalkEdition,
    models.CrosswalkRow,
    models.KnowledgeRelease,
    models.ReleasedDetector,
    models.ReleasedFramework,
    models.ReleasedCrosswalk,
    models.MigrationPlanEdition,
]


@pytest.mark.parametrize("model", IMMUTABLE, ids=lambda model: model.__name__)
def test_no_row_can_be_changed_or_removed(model: Any) -> None:
    table = connection.ops.quote_name(model._meta.db_table)
    row = model.objects.first()
    assert row is not None
    attempts: list[Callable[[], Any]] = [
        row.save,
        lambda: model.objects.filter(pk=row.pk).update(id=row.pk),
        lambda: model.objects.filter(pk=row.pk)._raw_delete("default"),
        lambda: connection.cursor().execute(f"UPDATE {table} SET id = id"),
        lambda: connection.cursor().execute(f"DELETE FROM {table}"),
        lambda: connection.cursor().execute(f"TRUNCATE {table} CASCADE"),
    ]
    before = model.objects.count()
    for attempt in attempts:
        with pytest.raises(DatabaseError), transaction.atomic():
            attempt()
    assert model.objects.count() == before


def test_every_model_is_immutable() -> None:
    assert set(counts()) == {model.__name__ for model in IMMUTABLE}


def test_the_nearest_row_holds_for_a_label(folder: Path, edit: Edit) -> None:
    def evidence(label: str) -> dict[str, str]:
        release = current_release()
        assert release is not None
        rows = controls_for(label, release)
        return {f"{row.control.edition}:{row.control.code}": row.evidence for row in rows}

    audit = "hipaa@2013:164.312(b)"
    assert evidence("PII.Contact.Email")[audit] == "supporting"
    assert evidence("PII.Health.Condition")[audit] == "direct"
    assert evidence("OTHER.Unknown") == {}
    edit("crosswalks/hipaa.yaml", 'version: "2026.11.2"', 'version: "2026.11.3"')
    edit(
        "crosswalks/hipaa.yaml",
        "rows:\n",
        'rows:\n  - {label: PII.Contact.URL, control: "164.312(b)", relationship: not_related, '
        "evidence: none, strength: 0, rationale: A test takes this control away.}\n",
    )
    load(folder)
    assert audit not in evidence("PII.Contact.URL")
    assert evidence("PII.Contact.Email")[audit] == "supporting"


def test_a_release_that_never_was() -> None:
    with pytest.raises(NoReleaseError, match="no release 4711"):
        documents_of(4711)


class TestCommand:
    def run(self, *arguments: str) -> str:
        out = io.StringIO()
        call_command("load_config", *arguments, stdout=out)
        return out.getvalue()

    def test_says_what_changed(self, folder: Path, edit: Edit) -> None:
        serial = current_serial() or 0
        assert f"release {serial} stays in force" in self.run("--directory", str(folder))
        edit(SOC2, 'version: "2026.11.1"', 'version: "2026.11.2"')
        text = self.run("--directory", str(folder))
        assert "new        crosswalks/soc2.yaml" in text
        assert f"release {serial + 1} is now in force" in text

    def test_json(self, folder: Path) -> None:
        report = json.loads(self.run("--directory", str(folder), "--json"))
        assert report["released"] is False
        assert report["serial"] == current_serial()
        assert "taxonomy/2026.11.yaml" in report["unchanged"]

    def test_refusal(self, folder: Path, edit: Edit) -> None:
        edit(SOC2, '"CC6.1"', '"CC6.9"')
        out = io.StringIO()
        with pytest.raises(CommandError) as caught:
            call_command("load_config", "--directory", str(folder), "--json", stdout=out)
        assert caught.value.returncode == 1
        assert "Nothing was loaded" in str(caught.value)
        assert "CC6.9 is not in frameworks/soc2.yaml" in json.loads(out.getvalue())["problems"][0]


def test_the_knowledge_lives_in_public_alone_and_tenants_read_it(acme: Any) -> None:
    from tenants.context import tenant_context

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT table_schema FROM information_schema.tables "
            "WHERE table_name LIKE 'taxonomy\\_%'"
        )
        assert cursor.fetchall() == [("public",)]
    serial = current_serial()
    with tenant_context(acme.tenant):
        assert current_serial() == serial
        assert current_documents().taxonomy["edition"] == "2026.11"

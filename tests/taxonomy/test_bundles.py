"""A release travels as one file, and comes back identical."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEntry
from taxonomy.selectors import current_release, current_serial, documents_of
from taxonomy.services import load_knowledge

Edit = Callable[[str, str, str], None]

pytestmark = pytest.mark.django_db


def run(*arguments: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command(*arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "knowledge.zip"
    run("export_bundle", path)
    return path


def rewrite(bundle: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> None:
    """Write the bundle again with changed entries; None leaves one out."""
    copy = bundle.with_suffix(".copy")
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
        for name, data in more.items():
            new.writestr(name, data)
    shutil.move(copy, bundle)


def refusal(bundle: Path) -> str:
    before = current_serial()
    with pytest.raises(CommandError, match="Nothing was loaded") as caught:
        call_command("import_bundle", bundle)
    assert current_serial() == before
    return str(caught.value)


def test_the_same_release_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    run("export_bundle", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_importing_what_is_in_force_changes_nothing(bundle: Path) -> None:
    serial = current_serial()
    report = run("import_bundle", bundle)
    assert (report["serial"], report["released"], report["added"]) == (serial, False, [])


def test_the_round_trip_is_identical(bundle: Path, folder: Path, edit: Edit) -> None:
    """Export, go on to another release, import: the first release's content is in force again."""
    first = current_release()
    assert first is not None
    edit("crosswalks/soc2.yaml", 'version: "2026.11.1"', 'version: "2026.11.99"')
    assert load_knowledge(directory=folder, actor="system:tests").released
    report = run("import_bundle", bundle)
    restored = current_release()
    assert restored is not None
    assert report["released"]
    assert restored.serial == first.serial + 2
    assert restored.sha256 == first.sha256
    old, new = documents_of(first.serial), documents_of(restored.serial)
    assert old._replace(serial=0) == new._replace(serial=0)
    entry = AuditEntry.objects.filter(action="knowledge.released").first()
    assert entry is not None
    assert (entry.actor, entry.target) == ("system:import_bundle", str(restored.serial))
    again = bundle.with_name("again.zip")
    run("export_bundle", again)
    ours, theirs = (_without_serial(path) for path in (bundle, again))
    assert ours == theirs


def _without_serial(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    del manifest["release"]
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def test_an_older_release(tmp_path: Path, folder: Path, edit: Edit) -> None:
    serial = current_serial()
    edit("crosswalks/soc2.yaml", 'version: "2026.11.1"', 'version: "2026.11.99"')
    load_knowledge(directory=folder, actor="system:tests")
    manifest = run("export_bundle", tmp_path / "old.zip", "--release", str(serial))
    assert manifest["release"] == serial
    with pytest.raises(CommandError, match="no release 4711"):
        call_command("export_bundle", tmp_path / "none.zip", "--release", "4711")
    assert not (tmp_path / "none.zip").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_bundle", tmp_path / "nowhere" / "bundle.zip")


def test_what_is_no_bundle(tmp_path: Path) -> None:
    assert "is no bundle (FileNotFoundError)" in refusal(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("text")
    assert "is no bundle (BadZipFile)" in refusal(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "is no bundle (KeyError)" in refusal(tmp_path / "empty.zip")


def test_a_changed_file(bundle: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name == "detectors/detoxify.yaml":
            return data.replace(b"HARM.SPEECH.Threat", b"HARM.SPEECH.Insult")
        return data

    rewrite(bundle, change)
    assert "detectors/detoxify.yaml is not what the manifest says" in refusal(bundle)


def test_a_missing_and_an_added_file(bundle: Path) -> None:
    rewrite(bundle, lambda name, data: data, extra=b"more")
    assert "not those of its manifest" in refusal(bundle)
    rewrite(bundle, lambda name, data: None if name in ("extra", _SOC2) else data)
    assert "not those of its manifest" in refusal(bundle)


_SOC2 = "crosswalks/soc2-2017.yaml"


@pytest.mark.parametrize(
    "name", ["../outside.yaml", "/outside.yaml", "detectors/a/b.yaml", "schemas/x.yaml"]
)
def test_a_name_that_leads_elsewhere(bundle: Path, name: str) -> None:
    def change(entry: str, data: bytes) -> bytes:
        if entry != "manifest.json":
            return data
        manifest = json.loads(data)
        manifest["files"][name] = "0" * 64
        return json.dumps(manifest).encode()

    rewrite(bundle, change, **{name: b"detector: evil"})
    assert "not those of its manifest" in refusal(bundle)
    assert not (bundle.parent / "outside.yaml").exists()


def test_a_bundle_of_a_later_format(bundle: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(b'"format": 1', b'"format": 2') if name == "manifest.json" else data

    rewrite(bundle, change)
    assert "has format 2; this version reads 1" in refusal(bundle)


def test_an_archive_that_unpacks_to_far_too_much(bundle: Path) -> None:
    zeros = b"0" * (65 * 1024 * 1024)
    with zipfile.ZipFile(bundle, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("detectors/bomb.yaml", zeros)
    assert "unpacks to more than" in refusal(bundle)

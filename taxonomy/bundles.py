"""Bundles: a release of the knowledge as one file, to carry to another installation.

A bundle is a ZIP archive of the release's files as YAML, in the folders of the knowledge folder,
and `manifest.json`: the release's serial and digest, and the digest of every file's content. The
same release always gives the same bytes.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from taxonomy.documents import KINDS, digest, read_documents
from taxonomy.errors import KnowledgeFileError, NoReleaseError
from taxonomy.models import KnowledgeRelease, Label
from taxonomy.validation import SCHEMAS

FORMAT = 1
MANIFEST = "manifest.json"
# A bundle comes from elsewhere: what is far larger than the shipped knowledge is not unpacked.
MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 5_000
_FIRST_DATE_OF_ZIP = (1980, 1, 1, 0, 0, 0)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def write_bundle(serial: int, path: Path) -> dict[str, Any]:
    """Write a release's bundle and return its manifest. Raises NoReleaseError, OSError."""
    release = KnowledgeRelease.objects.select_related("taxonomy").filter(serial=serial).first()
    if release is None:
        raise NoReleaseError(f"There is no release {serial} of the knowledge.")
    files = dict(sorted(_files(release)))
    manifest = {
        "format": FORMAT,
        "release": release.serial,
        "sha256": release.sha256,
        "files": {name: digest(document) for name, document in files.items()},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, MANIFEST, json.dumps(manifest, indent=2))
        for name, document in files.items():
            _add(archive, name, _yaml(document))
    return manifest


def _files(release: KnowledgeRelease) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"taxonomy/{release.taxonomy.edition}.yaml", _ordered(release)
    for detector in release.detectors.all():
        yield f"detectors/{detector.detector}.yaml", detector.document
    for framework in release.frameworks.all():
        name = f"{framework.framework}-{framework.edition}.yaml"
        yield f"frameworks/{name}", framework.document
    for crosswalk in release.crosswalks.select_related("framework"):
        name = f"{crosswalk.framework.framework}-{crosswalk.framework.edition}.yaml"
        yield f"crosswalks/{name}", crosswalk.document


def _ordered(release: KnowledgeRelease) -> dict[str, Any]:
    """The taxonomy with its labels in their own order, which a JSON column does not keep."""
    document = dict(release.taxonomy.document)
    names = Label.objects.filter(edition=release.taxonomy).order_by("position")
    document["labels"] = {
        name: document["labels"][name] for name in names.values_list("name", flat=True)
    }
    return document


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, date_time=_FIRST_DATE_OF_ZIP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text)


def unpack_bundle(path: Path, directory: Path, schemas: Path) -> dict[str, Any]:
    """Unpack a bundle as a knowledge folder, check it whole, and return its manifest.

    The JSON Schemas are this installation's (`schemas`), not the bundle's. Raises
    KnowledgeFileError if it is no bundle, or not what its manifest says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive, path.name)
            for name in manifest["files"]:
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    # RuntimeError: an entry with a password, or a compression that is not known here.
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, KeyError) as error:
        raise KnowledgeFileError(
            [f"{path.name}: is no bundle ({type(error).__name__}). Make one with export_bundle."]
        ) from None
    (directory / SCHEMAS).symlink_to(schemas, target_is_directory=True)
    found = {document.name: document.sha256 for document in read_documents(directory)}
    changed = sorted(name for name, sha256 in manifest["files"].items() if found[name] != sha256)
    if changed:
        raise KnowledgeFileError(
            f"{path.name}: {name} is not what the manifest says. Export the bundle again."
            for name in changed
        )
    return manifest


def _manifest(archive: zipfile.ZipFile, bundle: str) -> dict[str, Any]:
    entries = archive.infolist()
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise KnowledgeFileError(
            [f"{bundle}: unpacks to more than {MAX_BYTES} bytes or {MAX_FILES} files. Check it."]
        )
    manifest = json.loads(archive.read(MANIFEST))
    if not isinstance(manifest, dict) or not isinstance(manifest["files"], dict):
        raise ValueError(MANIFEST)
    if manifest["format"] != FORMAT:
        raise KnowledgeFileError(
            [f"{bundle}: has format {manifest['format']!r}; this version reads {FORMAT}. Upgrade."]
        )
    announced = {MANIFEST, *manifest["files"]}
    strange = [e.filename for e in entries if e.filename not in announced]
    strange += [name for name in manifest["files"] if not _expected(name)]
    if strange or len(entries) != len(announced):
        raise KnowledgeFileError(
            [f"{bundle}: its files are not those of its manifest. Export the bundle again."]
        )
    return manifest


def _expected(name: str) -> bool:
    """A YAML file directly in one of the known folders: nothing can be written elsewhere."""
    path = PurePosixPath(name)
    return (
        str(path) == name
        and len(path.parts) == 2
        and path.parts[0] in KINDS
        and (path.suffix == ".yaml" and "\\" not in name)
    )

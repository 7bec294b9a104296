"""Data sets on disk: folders that are named by their content and never change.

A folder is written beside its place and renamed into it, so that nobody reads half of one, and a
full disk leaves nothing. Reading verifies every file.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training import durable
from training.datasets.sides import SIDES, Side

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
ENCODER: Final = "dataset.json"
TAXONOMY: Final = "taxonomy.json"
CARD: Final = "README.md"
# What says what a data set is; the rest of a manifest tells of it.
_CONTENT: Final = ("format", "name", "edition", "seed", "config", "files")
_MEMBERS: Final = frozenset(
    (*_CONTENT, "digest", "sources", "splits", "counts", "encoder_dataset", "taxonomy", "card")
)
_FOLDER_CHARS: Final = 16


class StoreError(RuntimeError):
    """A data set cannot be kept or read. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A data set whose files are what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 that names it."""
        return str(self.manifest["digest"])

    def rows(self, side: Side) -> Iterator[dict[str, Any]]:
        """The samples of a side. Raises StoreError for a line that is no JSON object."""
        path = self.folder / self.manifest["splits"][side]["file"]
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    row = None
                if not isinstance(row, dict):
                    raise StoreError(f"{path.name}:{number}: is no sample. Build the set anew.")
                yield row

    def taxonomy(self) -> dict[str, Any]:
        """The edition that its answers belong to."""
        found: dict[str, Any] = json.loads((self.folder / TAXONOMY).read_text("utf-8"))
        return found


def digest_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the configuration and every file's SHA-256."""
    content = {name: manifest[name] for name in _CONTENT}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_of(root: Path, digest: str) -> Path:
    """Where a data set of a digest is kept."""
    return root / digest[:_FOLDER_CHARS]


def save(root: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Stored:
    """Keeps files under `root`; a set of the same content is left as it is.

    `manifest` is complete (see build). Raises StoreError if the disk is full or cannot be written;
    nothing is left behind then.
    """
    place = folder_of(root, manifest["digest"])
    if place.exists():
        return load(place)
    holder: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        for name, content in files.items():
            durable.write(holder / name, content)
        durable.write(
            holder / MANIFEST, f"{json.dumps(manifest, indent=2, ensure_ascii=False)}\n".encode()
        )
        holder.chmod(0o755)
        durable.sync(holder)
        try:
            holder.rename(place)
        except OSError:
            if not place.exists():
                raise
            shutil.rmtree(holder)  # somebody else has just written the same
        durable.sync(root)
    except OSError as error:
        if holder is not None:
            shutil.rmtree(holder, ignore_errors=True)
        raise StoreError(
            f"{root}: the data set cannot be written ({error.strerror}). Make room or correct the "
            "rights, then build it again. Nothing was left behind."
        ) from None
    return load(place)


def find(root: Path, name: str) -> Path:
    """The folder of a data set: by path, or by the beginning of its digest or its name.

    Of several with one name the newest. Raises StoreError.
    """
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    known = folders(root)
    found = [one for one in known if len(name) >= 4 and one.name.startswith(name[:_FOLDER_CHARS])]
    found = found or [one for one in known if _name(one) == name]
    if not found:
        raise StoreError(
            f"{name}: there is no such data set. `manage.py show_datasets` lists them."
        )
    return max(found, key=lambda one: (one / MANIFEST).stat().st_mtime_ns)


def folders(root: Path) -> list[Path]:
    """Every data set under a root, by digest."""
    return sorted(one.parent for one in root.glob(f"[!.]*/{MANIFEST}"))


def _name(folder: Path) -> str:
    try:
        return str(read_manifest(folder)["name"])
    except StoreError:
        return ""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest alone, its files unseen. Raises StoreError for another form or digest."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({type(error).__name__}). Build the set anew."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(
            f"{path}: is of another format than {FORMAT}. Use the version of Pillars that made it, "
            "or build the set anew."
        )
    if manifest.keys() != _MEMBERS or not _well_formed(manifest):
        raise StoreError(f"{path}: members are missing or unknown. Build the set anew.")
    if digest_of(manifest) != manifest["digest"]:
        raise StoreError(f"{path}: its digest is not that of its content. Build the set anew.")
    return manifest


def _well_formed(manifest: Mapping[str, Any]) -> bool:
    """Whether the parts say the same of files as the list that the digest covers."""
    files = manifest["files"]
    try:
        parts = [manifest["splits"][side] for side in SIDES]
        parts += [manifest["encoder_dataset"], manifest["taxonomy"]]
        return (
            files == {one["file"]: one["sha256"] for one in parts}
            and manifest["splits"].keys() == set(SIDES)
            and all(Path(name).name == name for name in (*files, manifest["card"]["file"]))
        )
    except (AttributeError, KeyError, TypeError):
        return False


def load(folder: Path) -> Stored:
    """A data set with every file verified. Raises StoreError for any that changed."""
    manifest = read_manifest(folder)
    expected = {**manifest["files"], manifest["card"]["file"]: manifest["card"]["sha256"]}
    for name, sha256 in expected.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise StoreError(
                f"{folder / name}: cannot be read ({error.strerror}). Build the set anew."
            ) from None
        if found != sha256:
            raise StoreError(
                f"{folder / name}: was changed after it was built: its SHA-256 is not the "
                "manifest's. Build the set anew and find out who changed it."
            )
    return Stored(folder, manifest)

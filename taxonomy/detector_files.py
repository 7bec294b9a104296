"""Carries detector files from one taxonomy edition to another, in place.

Comments and layout stay: only the canonical labels and the version are replaced, where they stand
in the text. All files or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from taxonomy.documents import Document, read_document
from taxonomy.errors import KnowledgeFileError
from taxonomy.migration import MigrationPlan
from taxonomy.selectors import is_edition, labels_of, loaded_plan
from taxonomy.validation import canonical_labels


class _Edit(NamedTuple):
    """Text from `start` to `end` becomes `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that was carried over."""

    path: Path
    labels: int  # canonical labels that got another name
    version: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.labels} labels, version {self.version}"


def migrate_detector_files(
    *, directory: Path, old: str, new: str, write: bool = True
) -> list[FileChange]:
    """Carry the files of edition `old` in a folder over by the loaded plan.

    A file is of the edition that its version names. Raises NoPlanError, and KnowledgeFileError
    with file and line for every label on which somebody has to decide.
    """
    plan = loaded_plan(old=old, new=new).plan
    known = set(labels_of(new))
    texts: dict[Path, str] = {}
    changes: list[FileChange] = []
    problems: list[str] = []
    for path in sorted(directory.glob("*.yaml")):
        document = read_document("detector", path)
        if not is_edition(str(document.data.get("version")), old):
            continue
        found = list(_problems(document, plan, known))
        problems += found
        if not found:
            texts[path], change = _rewritten(document, plan)
            changes.append(change)
    if problems:
        raise KnowledgeFileError(problems)
    if not changes:
        raise KnowledgeFileError(
            [f"{directory}: holds no detector file whose version begins with {old}. Check both."]
        )
    if write:
        _replace_all(texts)
    return changes


def _problems(document: Document, plan: MigrationPlan, known: set[str]) -> Iterator[str]:
    detector = str(document.data["detector"])
    for name, meaning in document.data["labels"].items():
        place = document.place(("labels", name))
        targets: list[str | None] = []
        for label in canonical_labels(meaning):
            try:
                targets.append(plan.migrate(label, detector=detector, source_label=name))
            except LookupError as error:
                yield f"{place}: {error}"
                continue
            if targets[-1] is None:
                yield f"{place}: {label} is retired in {plan.new}. Choose another, or `unmapped`."
            elif targets[-1] not in known:
                yield f"{place}: {targets[-1]} is not in edition {plan.new}. Correct the plan."
        if len(set(targets)) < len(targets):
            yield f"{place}: two of its labels become the same. Keep one of them."


def _rewritten(document: Document, plan: MigrationPlan) -> tuple[str, FileChange]:
    with document.path.open(encoding="utf-8", newline="") as stream:  # line ends stay as they are
        text = stream.read()
    version = f"{plan.new}.1"
    # The loader in Python counts characters, as slices of the text do.
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits = set(_edits(root, document, plan, version))
    parted = len({edit.start for edit in edits}) < len(edits)
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    if parted or yaml.safe_load(text) != _expected(document, plan, version):
        raise KnowledgeFileError(
            [f"{document.name}:1: an anchor stands for labels that part ways. Write them out."]
        )
    return text, FileChange(document.path, len(edits) - 1, version)


def _expected(document: Document, plan: MigrationPlan, version: str) -> dict[str, Any]:
    """The file's data in the new edition: what the edited text must say."""
    detector = str(document.data["detector"])

    def carried(name: str, meaning: dict[str, Any]) -> dict[str, Any]:
        if "canonical" not in meaning:
            return meaning
        old = canonical_labels(meaning)
        new = [plan.migrate(label, detector=detector, source_label=name) for label in old]
        return {**meaning, "canonical": new[0] if isinstance(meaning["canonical"], str) else new}

    labels = {name: carried(name, meaning) for name, meaning in document.data["labels"].items()}
    return {**document.data, "version": version, "labels": labels}


def _edits(root: Any, document: Document, plan: MigrationPlan, version: str) -> Iterator[_Edit]:
    detector = str(document.data["detector"])
    yield _edit(_entry(root, "version"), version)
    for key, meaning in _entry(root, "labels").value:
        canonical = _entry(meaning, "canonical")
        if canonical is None:
            continue
        for node in canonical.value if isinstance(canonical.value, list) else [canonical]:
            label = plan.migrate(node.value, detector=detector, source_label=str(key.value))
            if label is not None and label != node.value:
                yield _edit(node, label)


def _entry(mapping: Any, name: str) -> Any:
    return next((value for key, value in mapping.value if key.value == name), None)


def _edit(node: Any, value: str) -> _Edit:
    quote = node.style if node.style in ("'", '"') else ""
    return _Edit(node.start_mark.index, node.end_mark.index, f"{quote}{value}{quote}")


def _replace_all(texts: dict[Path, str]) -> None:
    """Write every file beside its place, then move all; put the old ones back if a move fails."""
    before = {path: path.read_bytes() for path in texts}
    beside = {path: path.with_name(f".{path.name}.migrated") for path in texts}
    try:
        for path, text in texts.items():
            beside[path].write_text(text, encoding="utf-8", newline="")
            beside[path].chmod(path.stat().st_mode)
        for path in texts:
            beside[path].replace(path)
    except OSError as error:
        for path, content in before.items():
            path.write_bytes(content)
        raise KnowledgeFileError(
            [f"{error.filename}: cannot be written ({error.strerror}). Check rights and space."]
        ) from None
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)

"""Reads the knowledge files: YAML with line numbers, duplicate keys and non-text keys refused."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from taxonomy.errors import KnowledgeFileError

KeyPath = tuple[str | int, ...]
KINDS = {
    "taxonomy": "taxonomy",
    "detectors": "detector",
    "frameworks": "framework",
    "crosswalks": "crosswalk",
}
_SCALARS = (str, int, float, bool, type(None))
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file. `kind` is taxonomy, detector, framework or crosswalk."""

    kind: str
    path: Path
    name: str  # relative to the knowledge folder, for messages
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(repr=False)

    @property
    def sha256(self) -> str:
        """Digest of the content; comments and layout do not count."""
        return digest(self.data)

    def place(self, path: KeyPath) -> str:
        """`file:line: field` of a value, or of the nearest one around it that has a line."""
        here = path
        while here and here not in self.lines:
            here = here[:-1]
        dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        where = f"{self.name}:{self.lines.get(here, 1)}" if self.lines else self.name
        return f"{where}: {dotted}" if dotted else where


def canonical(value: Any) -> bytes:
    """A JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def read_documents(directory: Path) -> list[Document]:
    """Every YAML file of the knowledge folder. Raises KnowledgeFileError with all problems."""
    if not directory.is_dir():
        raise KnowledgeFileError(
            [f"{directory}: there is no such folder. Give the folder that holds taxonomy/."]
        )
    documents: list[Document] = []
    problems: list[str] = []
    for folder, kind in KINDS.items():
        for path in sorted((directory / folder).glob("*.yaml")):
            try:
                documents.append(_read(kind, path, f"{folder}/{path.name}"))
            except KnowledgeFileError as error:
                problems += error.problems
    if not any(document.kind == "taxonomy" for document in documents) and not problems:
        problems.append(f"{directory}/taxonomy: holds no edition. Add taxonomy/EDITION.yaml.")
    if problems:
        raise KnowledgeFileError(problems)
    return documents


def read_document(kind: str, path: Path) -> Document:
    """One YAML file, also of a kind that no release holds. Raises KnowledgeFileError."""
    return _read(kind, path, f"{path.parent.name}/{path.name}")


def parse_document(kind: str, path: Path, text: str) -> Document:
    """As read_document, of a text that is not in the file (yet). Raises KnowledgeFileError."""
    return _parse(kind, path, f"{path.parent.name}/{path.name}", text)


def read_plan(path: Path) -> Document:
    """A migration plan from one taxonomy edition to another. Raises KnowledgeFileError."""
    return read_document("migration", path)


def _read(kind: str, path: Path, name: str) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KnowledgeFileError(
            [f"{name}: cannot be read ({type(error).__name__}). Check rights and UTF-8."]
        ) from None
    return _parse(kind, path, name, text)


def _parse(kind: str, path: Path, name: str, text: str) -> Document:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
        # Constructing has written merged keys (`<<`) into the nodes: read what stands there.
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise KnowledgeFileError(
            [f"{name}:{line}: {problem}. Check indentation and quotation marks."]
        ) from None
    finally:
        loader.dispose()
    if node is None or not isinstance(data, dict):
        raise KnowledgeFileError(
            [f"{name}:1: `key: value` lines are needed here. Write an object."]
        )
    lines: dict[KeyPath, int] = {}
    problems = [f"{name}:{line}: {problem}" for line, problem in _walk(node, data, (), lines)]
    if problems:
        raise KnowledgeFileError(problems)
    return Document(kind, path, name, data, lines)


def _walk(
    node: yaml.Node, data: Any, path: KeyPath, lines: dict[KeyPath, int]
) -> Iterator[tuple[int, str]]:
    """Notes the line of every value; yields what JSON cannot hold and keys that stand twice."""
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode) and isinstance(data, dict):
        yield from _walk_mapping(node, data, path, lines)
    elif isinstance(node, yaml.SequenceNode) and isinstance(data, list):
        for index, item in enumerate(node.value):
            yield from _walk(item, data[index], (*path, index), lines)
    elif not isinstance(data, _SCALARS) or data != data or data in (float("inf"), -float("inf")):
        yield line, f"{node.value!r} is read as {type(data).__name__}. Put it in quotation marks."


def _walk_mapping(
    node: yaml.MappingNode, data: dict[Any, Any], path: KeyPath, lines: dict[KeyPath, int]
) -> Iterator[tuple[int, str]]:
    times = Counter(str(key_node.value) for key_node, _ in node.value)
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        here = (*path, str(key))
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue  # its values are checked where they stand
        if key_node.tag != "tag:yaml.org,2002:str":
            yield line, f"the key `{key}` is not text. Put it in quotation marks."
        elif here in lines:
            yield line, f"`{key}` stands here twice (first on line {lines[here]}). Remove one."
        else:
            lines[here] = line
            if times[key] == 1:  # of a key that stands twice, the data holds the last value alone
                yield from _walk(value_node, data[key], here, lines)

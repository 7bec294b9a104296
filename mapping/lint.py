"""Checks detector files by the rules of style, and mends what can be mended without a decision.

Mending edits single places of the text, so that comments and layout stay. After each mend the file
is parsed and compared with what it must say: the same as before, or the same without aliases that
made no difference. Anything else is left as it was.
"""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from mapping.lint_rules import (
    FILE_KEYS,
    LABEL_KEYS,
    LOADER,
    DetectorText,
    Finding,
    findings,
    unused_anchors,
    value_of,
    vocabulary,
)
from taxonomy.documents import KeyPath, parse_document, read_document
from taxonomy.errors import KnowledgeFileError
from taxonomy.validation import misfits

KIND: Final = "detector"
# A mend: from the file and what is wrong with it to a new text.
Mend: TypeAlias = Callable[[DetectorText, Sequence[Finding]], str]


class UnknownDetectorError(LookupError):
    """There is no file of that name under detectors/."""


@dataclass(slots=True)
class LintReport:
    """What was found in how many files, and what was mended."""

    files: int = 0
    problems: list[str] = field(default_factory=list)  # what does not fit the schema
    findings: list[Finding] = field(default_factory=list)  # that are still there
    mended: dict[str, list[str]] = field(default_factory=dict)  # file to rules
    raised: dict[str, str] = field(default_factory=dict)  # file to its new version

    @property
    def is_clean(self) -> bool:
        """Nothing is left to be done."""
        return not self.problems and not self.findings

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "files": self.files,
            "problems": self.problems,
            "findings": [
                {"file": one.file, "line": one.line, "rule": one.rule, "message": one.message}
                for one in self.findings
            ],
            "mended": self.mended,
            "raised": self.raised,
        }


def lint(*, directory: Path, names: Iterable[str] = (), mend: bool = False) -> LintReport:
    """Check detectors/NAME.yaml, or all files there; `mend` writes what can be mended.

    Raises UnknownDetectorError. A file that does not fit its schema is named and not looked into.
    """
    paths = {path.stem: path for path in sorted((directory / "detectors").glob("*.yaml"))}
    unknown = set(names) - paths.keys()
    if unknown or not paths:
        name = ", ".join(sorted(unknown)) or "any detector"
        raise UnknownDetectorError(f"{directory}/detectors holds no file for {name}. Check it.")
    report = LintReport()
    for name in sorted(names) or list(paths):
        report.files += 1
        _lint_file(directory, paths[name], report, mend=mend)
    return report


def _lint_file(directory: Path, path: Path, report: LintReport, *, mend: bool) -> None:
    try:
        document = read_document(KIND, path)
        problems = list(misfits(directory, KIND, [document]))
    except KnowledgeFileError as error:
        report.problems += error.problems
        return
    if problems:
        report.problems += problems
        return
    file = _read(path)
    found = findings(file)
    if mend and found:
        text, rules, version = mended(file)
        if text != file.text:
            path.write_text(text, encoding="utf-8", newline="")
            report.mended[document.name] = rules
            if version:
                report.raised[document.name] = version
            found = findings(_read(path))
    report.findings += found


def _read(path: Path) -> DetectorText:
    with path.open(encoding="utf-8", newline="") as stream:
        text = stream.read()
    return _with_text(read_document(KIND, path), text)


def _with_text(document: Any, text: str) -> DetectorText:
    root = yaml.compose(text, Loader=LOADER)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - the schema wants an object
    return DetectorText(document, text, root)


def mended(file: DetectorText) -> tuple[str, list[str], str | None]:
    """The file's new text, the rules that were mended, and its new version if its content changed.

    The version is raised because what is loaded is known by it; layout and comments do not count.
    """
    rules: list[str] = []
    before = file.data
    for rule, mend in MENDS.items():
        wrong = [one for one in findings(file) if one.rule == rule]
        if not wrong:
            continue
        text = mend(file, wrong)
        if text != file.text and _load(text) == _expected(file.data, rule, wrong):
            file = _reparsed(file, text)
            rules.append(rule)
    if file.data == before:
        return file.text, rules, None
    _refuse_other_meaning(before, file.data)
    version = _next_version(before["version"])
    node = value_of(file.root, "version")
    assert node is not None  # noqa: S101 - the schema requires it
    text = _replaced(file.text, [(node.start_mark.index, node.end_mark.index, f'"{version}"')])
    if _load(text) != {**file.data, "version": version}:
        raise AssertionError(f"{file.document.name}: the version could not be raised.")
    return text, rules, version


def _load(text: str) -> Any:
    try:
        return yaml.load(text, LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError:
        return None


def _reparsed(file: DetectorText, text: str) -> DetectorText:
    """The same file with another text. Lines in it are those of the new text."""
    return _with_text(parse_document(KIND, file.document.path, text), text)


def _expected(data: Mapping[str, Any], rule: str, wrong: Sequence[Finding]) -> dict[str, Any]:
    """What the file must say after a mend: the same, but for the aliases that are taken out."""
    after = copy.deepcopy(dict(data))
    if rule in _ALIAS_RULES:
        for finding in sorted(wrong, key=lambda one: one.path[-1], reverse=True):
            *parents, key, index = finding.path
            holder: Any = after
            for parent in parents:
                holder = holder[parent]
            del holder[key][index]
            if not holder[key]:
                del holder[key]
    return after


def _refuse_other_meaning(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Every spelling that had a meaning must have the same one. AssertionError: a fault of ours."""
    old, new = vocabulary(before), vocabulary(after)
    for label, entry in before["labels"].items():
        for spelling in (label, *entry.get("aliases", [])):
            was, now = old.find(spelling), new.find(spelling)
            if was is None or now is None or was.label != now.label:
                raise AssertionError(f"{spelling!r} would mean something else. Report this.")


def _next_version(version: str) -> str:
    head, _, serial = version.rpartition(".")
    return f"{head}.{int(serial) + 1}"


def _replaced(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """The text with spans replaced: (start, end, new text)."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _mend_line_ends(file: DetectorText, _: Sequence[Finding]) -> str:
    return file.text.replace("\r\n", "\n")


def _mend_trailing_space(file: DetectorText, wrong: Sequence[Finding]) -> str:
    lines = file.text.split("\n")
    for finding in wrong:
        lines[finding.line - 1] = lines[finding.line - 1].rstrip()
    return "\n".join(lines)


def _mend_final_newline(file: DetectorText, _: Sequence[Finding]) -> str:
    return file.text.rstrip("\n") + "\n"


def _mend_version_quotes(file: DetectorText, _: Sequence[Finding]) -> str:
    node = value_of(file.root, "version")
    if node is None:
        return file.text
    span = (node.start_mark.index, node.end_mark.index, f'"{node.value}"')
    return _replaced(file.text, [span])


def _mend_unused_anchor(file: DetectorText, _: Sequence[Finding]) -> str:
    return _replaced(file.text, (_anchor_edit(file.text, t) for t in unused_anchors(file.text)))


def _anchor_edit(text: str, token: yaml.AnchorToken) -> tuple[int, int, str]:
    """Takes out an anchor with the space beside it, and a line break between `-` and its keys."""
    start, end = token.start_mark.index, token.end_mark.index
    rest = re.match(r" +|\n( *)(?=[^\s#])", text[end:])
    if rest is None:
        return start, end, ""
    if rest[1] is None:
        return start, end + rest.end(), ""
    if text[:start].endswith("- ") and len(rest[1]) == token.start_mark.column:
        return start, end + rest.end(), ""
    return len(text[:start].rstrip(" ")), end, ""


def _mend_key_order(file: DetectorText, wrong: Sequence[Finding]) -> str:
    """Labels on one line each, and the keys of the file with the comments above them."""
    edits = []
    for finding in wrong:
        node = _node(file.root, finding.path)
        if finding.path[:1] == ("labels",) and isinstance(node, yaml.MappingNode):
            pairs = _pairs(file.text, node)
            if pairs is not None:
                ordered = sorted(pairs, key=lambda pair: LABEL_KEYS.index(pair[0]))
                edits.append(_flow(node, "{", (text for _, text in ordered), "}"))
    text = _replaced(file.text, edits)
    return _ordered_blocks(text) if any(not one.path for one in wrong) else text


def _ordered_blocks(text: str) -> str:
    """The file's keys in order; each takes along the comment lines right above it."""
    root = yaml.compose(text, Loader=LOADER)
    lines = text.splitlines(keepends=True)
    if not isinstance(root, yaml.MappingNode) or not text.endswith("\n"):
        return text
    starts = []
    for number, (key, _) in enumerate(root.value):
        start = key.start_mark.line
        while number and lines[start - 1].startswith("#"):
            start -= 1
        starts.append((start, key.value))
    ends = [start for start, _ in starts[1:]] + [len(lines)]
    blocks = {key: lines[start:end] for (start, key), end in zip(starts, ends, strict=True)}
    head = lines[: starts[0][0]]
    ordered = [blocks[key] for key in sorted(blocks, key=FILE_KEYS.index)]
    return "".join(head + [line for block in ordered for line in block])


def _mend_aliases(file: DetectorText, wrong: Sequence[Finding]) -> str:
    by_list: dict[KeyPath, set[Any]] = {}
    for finding in wrong:
        by_list.setdefault(finding.path[:-1], set()).add(finding.path[-1])
    edits = [edit for path, gone in by_list.items() for edit in _without(file, path, gone)]
    return _replaced(file.text, edits)


def _without(file: DetectorText, path: KeyPath, gone: set[Any]) -> Iterator[tuple[int, int, str]]:
    """Edits that take items out of a list on one line; the key goes with the last item."""
    node = _node(file.root, path)
    if not isinstance(node, yaml.SequenceNode) or (items := _items(file.text, node)) is None:
        return
    kept = [text for index, text in enumerate(items) if index not in gone]
    if kept:
        yield _flow(node, "[", kept, "]")
        return
    parent = _node(file.root, path[:-1])
    if len(path) == 1:
        start = file.text.rindex("\n", 0, node.start_mark.index) + 1
        yield start, file.text.index("\n", node.end_mark.index) + 1, ""
    elif isinstance(parent, yaml.MappingNode):
        pairs = _pairs(file.text, parent)
        if pairs is not None:
            yield _flow(parent, "{", (text for key, text in pairs if key != path[-1]), "}")


def _flow(node: yaml.Node, left: str, parts: Iterable[str], right: str) -> tuple[int, int, str]:
    return node.start_mark.index, node.end_mark.index, f"{left}{', '.join(parts)}{right}"


def _pairs(text: str, node: yaml.MappingNode) -> list[tuple[str, str]] | None:
    """Keys of a mapping on one line with the text of each pair; None if it is not on one line."""
    starts = [key.start_mark.index for key, _ in node.value]
    parts = _parts(text, node, starts, "{")
    if parts is None:
        return None
    return [(key.value, part) for (key, _), part in zip(node.value, parts, strict=True)]


def _items(text: str, node: yaml.SequenceNode) -> list[str] | None:
    """The text of each item of a list on one line; None if it is not on one line."""
    return _parts(text, node, [item.start_mark.index for item in node.value], "[")


def _parts(text: str, node: yaml.Node, starts: list[int], left: str) -> list[str] | None:
    begin, end = node.start_mark.index, node.end_mark.index
    if text[begin] != left or "\n" in text[begin:end]:
        return None
    stops = [*starts[1:], end - 1]
    return [
        text[a:b].rstrip().removesuffix(",").rstrip() for a, b in zip(starts, stops, strict=True)
    ]


def _node(node: yaml.Node, path: KeyPath) -> yaml.Node | None:
    """The node at a path of keys and indices."""
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = node.value[part]
        else:
            found = None
        if found is None:
            return None
        node = found
    return node


_ALIAS_RULES: Final = ("alias-repeats", "detector-alias-repeats")
MENDS: Final[Mapping[str, Mend]] = {
    "line-ends": _mend_line_ends,
    "trailing-space": _mend_trailing_space,
    "final-newline": _mend_final_newline,
    "version-quotes": _mend_version_quotes,
    "unused-anchor": _mend_unused_anchor,
    "key-order": _mend_key_order,
    "alias-repeats": _mend_aliases,
    "detector-alias-repeats": _mend_aliases,
}

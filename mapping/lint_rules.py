"""Rules of style for detector files, beyond what their schema says. Plain Python.

A comment `# lint-ok RULE: reason` on a line, or on the comment lines above it, excuses what a rule
says of that line; before the first key it excuses the whole file.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml

from mapping.engine.detectors import fold_name
from mapping.engine.vocabulary import Kind, LabelRule, Vocabulary, fold
from taxonomy.documents import Document, KeyPath
from taxonomy.validation import canonical_labels

FILE_KEYS: Final = (
    "detector", "vendor", "version", "category", "detector_versions", "sources", "aliases",
    "threshold", "notes", "recipes", "labels",
)  # fmt: skip
RECIPE_KEYS: Final = ("name", "when", "text", "read", "unwrap")
LABEL_KEYS: Final = (
    "canonical", "not_a_finding", "unmapped", "severity", "confidence", "threshold", "generic",
    "aliases", "meaning",
)  # fmt: skip
_ONLY_MAPPED: Final = ("severity", "confidence", "threshold", "generic")
_DEFAULTS: Final[Mapping[str, Any]] = {"confidence": 1, "generic": False, "aliases": []}
_EXCUSE = re.compile(r"#\s*lint-ok\s+(?P<rule>[a-z-]+)(?::\s*(?P<reason>\S.*))?")
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Spot(NamedTuple):
    """Where a rule is broken, and what to do. `line` counts from 1."""

    line: int
    message: str
    path: KeyPath = ()


class Finding(NamedTuple):
    """A broken rule of one file."""

    file: str  # relative to the knowledge folder
    line: int
    rule: str
    message: str
    path: KeyPath = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True, slots=True)
class DetectorText:
    """A detector file that fits its schema: its text, and what the text says."""

    document: Document
    text: str
    root: yaml.MappingNode

    @property
    def data(self) -> dict[str, Any]:
        """What the file says."""
        return self.document.data

    def line(self, path: KeyPath) -> int:
        """The line of a value."""
        return self.document.lines[path]


def vocabulary(data: Mapping[str, Any]) -> Vocabulary:
    """How the engine looks up the file's labels; severities and scores do not matter here."""
    rules: dict[str, LabelRule] = {}
    aliases: dict[str, LabelRule] = {}
    for label, entry in data["labels"].items():
        targets = tuple((canonical, 0) for canonical in canonical_labels(entry))
        kind: Kind = "skip" if "not_a_finding" in entry else "finding" if targets else "unmapped"
        rules[label] = LabelRule(label, kind, targets, generic=bool(entry.get("generic")))
        aliases.update(dict.fromkeys(entry.get("aliases", []), rules[label]))
    return Vocabulary(rules.values(), aliases)


def _line_ends(file: DetectorText) -> Iterator[Spot]:
    for number, line in enumerate(file.text.split("\n"), start=1):
        if line.endswith("\r"):
            yield Spot(number, "ends in CR LF. End lines in LF alone.")


def _trailing_space(file: DetectorText) -> Iterator[Spot]:
    for number, line in enumerate(file.text.split("\n"), start=1):
        bare = line.removesuffix("\r")
        if bare != bare.rstrip():
            yield Spot(number, "ends in spaces. Remove them.")


def _final_newline(file: DetectorText) -> Iterator[Spot]:
    text = file.text.replace("\r", "")
    if text.rstrip("\n") + "\n" != text:
        yield Spot(text.count("\n") + 1, "ends without one newline. End it in just one.")


def _header(file: DetectorText) -> Iterator[Spot]:
    if not file.text.startswith("# "):
        yield Spot(1, "does not begin with a comment. Say in one what the detector is.")


def _file_name(file: DetectorText) -> Iterator[Spot]:
    stem, name = file.document.path.stem, file.data["detector"]
    if stem != name:
        yield Spot(file.line(("detector",)), f"the file is called {stem}. Call it {name}.yaml.")


def _version_quotes(file: DetectorText) -> Iterator[Spot]:
    node = value_of(file.root, "version")
    if node is not None and node.style != '"':
        yield Spot(file.line(("version",)), 'the version has no quotes. Write "2026.11.1".')


def _key_order(file: DetectorText) -> Iterator[Spot]:
    yield from _out_of_order(file, (), file.data, FILE_KEYS)
    for index, recipe in enumerate(file.data["recipes"]):
        yield from _out_of_order(file, ("recipes", index), recipe, RECIPE_KEYS)
    for label, entry in file.data["labels"].items():
        yield from _out_of_order(file, ("labels", label), entry, LABEL_KEYS)


def _out_of_order(
    file: DetectorText, path: KeyPath, data: Mapping[str, Any], order: tuple[str, ...]
) -> Iterator[Spot]:
    wanted = sorted(data, key=order.index)
    if list(data) != wanted:
        line = file.line(path) if path else file.root.start_mark.line + 1
        yield Spot(line, f"keys stand in another order than {', '.join(wanted)}. Move them.", path)


def _unused_anchor(file: DetectorText) -> Iterator[Spot]:
    for token in unused_anchors(file.text):
        yield Spot(token.start_mark.line + 1, f"nothing refers to &{token.value}. Remove it.")


def unused_anchors(text: str) -> list[yaml.AnchorToken]:
    """The anchors that no `*name` stands for."""
    tokens = list(yaml.scan(text, Loader=LOADER))
    used = {token.value for token in tokens if isinstance(token, yaml.AliasToken)}
    return [t for t in tokens if isinstance(t, yaml.AnchorToken) and t.value not in used]


def _duplicate_label(file: DetectorText) -> Iterator[Spot]:
    first: dict[str, str] = {}
    for label, entry in file.data["labels"].items():
        for spelling in (label, *entry.get("aliases", [])):
            owner = first.setdefault(fold(spelling), label)
            if owner != label:
                yield Spot(
                    file.line(("labels", label)),
                    f"{spelling!r} is spelled like {owner!r} but for case and separators, which do "
                    "not count. Keep one, or say above why both: # lint-ok duplicate-label: …",
                )


def _alias_repeats(file: DetectorText) -> Iterator[Spot]:
    words = vocabulary(file.data)
    for label, entry in file.data["labels"].items():
        seen = {fold(label): label}
        for index, alias in enumerate(entry.get("aliases", [])):
            same = seen.setdefault(fold(alias), alias)
            # Where another label claims the folded spelling, the alias is needed as it stands.
            if same is not alias and words.find(f" {alias}") is words.find(label):
                yield Spot(
                    file.line(("labels", label, "aliases", index)),
                    f"{alias!r} is {same!r} but for case and separators, which do not count. "
                    "Remove it.",
                    ("labels", label, "aliases", index),
                )


def _detector_alias_repeats(file: DetectorText) -> Iterator[Spot]:
    seen = {fold_name(file.data["detector"]): file.data["detector"]}
    for index, alias in enumerate(file.data.get("aliases", [])):
        same = seen.setdefault(fold_name(alias), alias)
        if same is not alias:
            yield Spot(
                file.line(("aliases", index)),
                f"{alias!r} is {same!r} but for case and separators, which do not count. "
                "Remove it.",
                ("aliases", index),
            )


def _unused_setting(file: DetectorText) -> Iterator[Spot]:
    if file.data.get("aliases") == []:
        yield Spot(file.line(("aliases",)), "`aliases` is empty. Leave it out.")
    for label, entry in file.data["labels"].items():
        line = file.line(("labels", label))
        for key in entry:
            if key in _ONLY_MAPPED and "canonical" not in entry:
                yield Spot(line, f"`{key}` has no effect without `canonical`. Remove it.")
            elif key in _DEFAULTS and entry[key] == _DEFAULTS[key]:
                yield Spot(line, f"`{key}` says what holds without it. Leave it out.")


def _wording(file: DetectorText) -> Iterator[Spot]:
    """Reasons go on from `not a finding:`, hence no capital; one fragment has no full stop."""
    for label, entry in file.data["labels"].items():
        for key in ("not_a_finding", "unmapped", "meaning"):
            text = entry.get(key, "")
            line = file.document.lines.get(("labels", label, key), 1)
            if text != " ".join(text.split()):
                yield Spot(line, f"`{key}` has spaces too many. Use single ones.")
            if text.endswith("."):
                yield Spot(line, f"`{key}` ends in a full stop. Leave it out.")
            if key != "meaning" and re.match(r"[A-Z][a-z]* ", text):
                yield Spot(line, f"`{key}` begins with a capital. Write it small.")


def _repeats(file: DetectorText) -> Iterator[Spot]:
    names: set[str] = set()
    for index, recipe in enumerate(file.data["recipes"]):
        if recipe["name"] in names:
            yield Spot(
                file.line(("recipes", index)), f"two recipes are {recipe['name']!r}. Rename one."
            )
        names.add(recipe["name"])
    sources = {""}
    for index, source in enumerate(file.data["sources"]):
        bare = " ".join(source.split())
        if bare in sources:
            yield Spot(file.line(("sources", index)), "the source is blank or twice. Remove it.")
        sources.add(bare)


RULES: Final[Mapping[str, Callable[[DetectorText], Iterator[Spot]]]] = {
    "line-ends": _line_ends,
    "trailing-space": _trailing_space,
    "final-newline": _final_newline,
    "header": _header,
    "file-name": _file_name,
    "version-quotes": _version_quotes,
    "key-order": _key_order,
    "unused-anchor": _unused_anchor,
    "duplicate-label": _duplicate_label,
    "alias-repeats": _alias_repeats,
    "detector-alias-repeats": _detector_alias_repeats,
    "unused-setting": _unused_setting,
    "wording": _wording,
    "repeats": _repeats,
}


def value_of(node: yaml.Node, key: str) -> yaml.ScalarNode | None:
    """The scalar under a key."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key and isinstance(value, yaml.ScalarNode):
                return value
    return None


def findings(file: DetectorText) -> list[Finding]:
    """Every broken rule of a file that no comment excuses, by line."""
    excused, wrong = _excuses(file)
    found = [
        Finding(file.document.name, spot.line, rule, spot.message, spot.path)
        for rule, check in RULES.items()
        for spot in check(file)
        if not {(rule, 0), (rule, spot.line)} & excused
    ]
    found += [Finding(file.document.name, spot.line, "lint-ok", spot.message) for spot in wrong]
    return sorted(found, key=lambda one: (one.line, one.rule, one.message))


def _excuses(file: DetectorText) -> tuple[set[tuple[str, int]], list[Spot]]:
    """Which rule is excused on which line (0: on all of them), and comments that excuse nothing."""
    excused: set[tuple[str, int]] = set()
    wrong: list[Spot] = []
    waiting: list[str] = []  # rules named in comment lines, for the next line
    first_key = file.root.start_mark.line + 1
    for number, line in enumerate(file.text.splitlines(), start=1):
        bare = line.strip()
        if not bare.startswith("#"):
            excused |= {(rule, number) for rule in waiting}
            waiting = []
        match = _EXCUSE.search(line)
        if match is None:
            continue
        rule, reason = match["rule"], match["reason"]
        if rule not in RULES or not reason:
            wrong.append(Spot(number, "is `# lint-ok RULE: reason`, with a rule that there is."))
        elif number < first_key:
            excused.add((rule, 0))
        elif bare.startswith("#"):
            waiting.append(rule)
        else:
            excused.add((rule, number))
    return excused, wrong

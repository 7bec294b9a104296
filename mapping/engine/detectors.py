"""Detector files: the labels of a detector, and how its raw output is read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mapping.engine.documents import fail, list_of, mapping_of, only, text_of
from mapping.engine.readers import POLARITIES
from mapping.engine.recipes import DetectorReader
from mapping.engine.types import SAFE, SEVERITY_RANK, UNKNOWN
from mapping.engine.vocabulary import LabelRule, Vocabulary

DEFAULT_THRESHOLD = 0.5

_FILE_KEYS = frozenset(
    (
        "detector", "vendor", "version", "category", "detector_versions", "sources",
        "aliases", "threshold", "recipes", "labels", "notes", "normalise",
    )
)  # fmt: skip
_LABEL_KEYS = frozenset(
    (
        "canonical", "severity", "confidence", "threshold", "generic", "aliases", "meaning",
        "not_a_finding", "unmapped",
    )
)  # fmt: skip
_RECIPE_KEYS = frozenset(
    (
        "name", "when", "text", "read", "unwrap",
    )
)  # fmt: skip
_READER_KEYS = frozenset(
    (
        "each", "select", "when", "failed", "label", "keys", "name", "value", "polarity",
        "threshold", "score", "severity", "split", "extract", "with", "nonempty", "ignore",
    )
)  # fmt: skip
_CONDITION_KEYS = frozenset(
    (
        "path", "is", "is_not", "at_least", "below", "matches", "present",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DetectorMap:
    """One detector file, compiled."""

    name: str
    version: str
    vendor: str | None
    category: str
    aliases: tuple[str, ...]
    labels: Mapping[str, LabelRule]
    reader: DetectorReader


def build_detector(document: Any, severities: Mapping[str, int], edition: str) -> DetectorMap:
    """Checks and compiles a detector file against the taxonomy's labels. KnowledgeError if bad."""
    body = mapping_of(document, "detectors/?", "the file")
    name = text_of(body, "detector", "detectors/?")
    file = f"detectors/{name}.yaml"
    only(body, _FILE_KEYS, file, "")
    threshold = _share(body.get("threshold", DEFAULT_THRESHOLD), file, "threshold")
    rules: dict[str, LabelRule] = {}
    aliases: dict[str, LabelRule] = {}
    entries = mapping_of(body.get("labels"), file, "labels")
    for label, entry in entries.items():
        field = f"labels.{label}"
        checked = mapping_of(entry, file, field)
        rule = rules[label] = _label_rule(label, checked, severities, edition, file)
        for alias in list_of(checked.get("aliases", []), file, f"{field}.aliases"):
            if alias in entries or aliases.setdefault(str(alias), rule) is not rule:
                fail(file, f"{field}.aliases", f"{alias!r} stands for two labels", "Remove one")
    return DetectorMap(
        name=name,
        version=text_of(body, "version", file),
        vendor=body.get("vendor"),
        category=str(body.get("category") or ""),
        aliases=tuple(map(str, list_of(body.get("aliases", []), file, "aliases"))),
        labels=rules,
        reader=_reader(body, Vocabulary(rules.values(), aliases), threshold, file),
    )


def _share(value: Any, file: str, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        fail(file, field, "a number from 0 to 1 is needed here", "Write e.g. 0.5")
    return float(value)


def _label_rule(
    label: str, entry: Mapping[str, Any], severities: Mapping[str, int], edition: str, file: str
) -> LabelRule:
    field = f"labels.{label}"
    only(entry, _LABEL_KEYS, file, f"{field}.")
    outcomes = [key for key in ("canonical", "not_a_finding", "unmapped") if key in entry]
    if len(outcomes) != 1:
        fail(file, field, "one meaning is needed", "Give canonical, not_a_finding or unmapped")
    if outcomes[0] == "not_a_finding":
        return LabelRule(label, "skip")
    if outcomes[0] == "unmapped":
        return LabelRule(label, "unmapped")
    targets = _canonicals(entry["canonical"], severities, edition, file, field)
    severity = entry.get("severity")
    if severity is not None and severity not in SEVERITY_RANK:
        fail(file, f"{field}.severity", f"{severity!r} is no severity",
             f"Use one of {', '.join(SEVERITY_RANK)}")  # fmt: skip
    threshold = entry.get("threshold")
    return LabelRule(
        label,
        "safe" if targets == [SAFE] else "finding",
        tuple((t, severities[t] if severity is None else SEVERITY_RANK[severity]) for t in targets),
        confidence=_share(entry.get("confidence", 1.0), file, f"{field}.confidence"),
        threshold=None if threshold is None else _share(threshold, file, f"{field}.threshold"),
        generic=bool(entry.get("generic", False)),
    )


def _canonicals(
    value: Any, severities: Mapping[str, int], edition: str, file: str, field: str
) -> list[str]:
    targets = [value] if isinstance(value, str) else list_of(value, file, f"{field}.canonical")
    for target in targets:
        if target not in severities:
            fail(file, f"{field}.canonical", f"{target!r} is not in taxonomy {edition}",
                 "Use one of its labels")  # fmt: skip
    if not targets or len(set(targets)) != len(targets):
        fail(file, f"{field}.canonical", "empty or with a label twice", "Name each label once")
    if UNKNOWN in targets or (SAFE in targets and len(targets) > 1):
        fail(file, f"{field}.canonical", "contradicts itself",
             "Write `unmapped: reason` for unknown, and OTHER.Safe only by itself")  # fmt: skip
    return targets


def _reader(
    body: Mapping[str, Any], words: Vocabulary, threshold: float, file: str
) -> DetectorReader:
    recipes = list_of(body.get("recipes", []), file, "recipes")
    for number, recipe in enumerate(recipes):
        field = f"recipes[{number}]"
        _check_recipe(mapping_of(recipe, file, field), words, file, field)
        try:  # one by one, so that a complaint names the recipe
            DetectorReader([recipe], words, threshold)
        except (KeyError, ValueError, TypeError, AttributeError, re.error) as error:
            fail(file, field, f"cannot be compiled ({error})",
                 "See pillars-detectors/schemas/detector.schema.json")  # fmt: skip
    return DetectorReader(recipes, words, threshold)


def _check_recipe(recipe: Mapping[str, Any], words: Vocabulary, file: str, field: str) -> None:
    only(recipe, _RECIPE_KEYS, file, f"{field}.")
    text_of(recipe, "name", file)
    if ("read" in recipe) == ("unwrap" in recipe):
        fail(file, field, "either `read` or `unwrap` is needed", "Give one of them")
    _check_conditions(recipe.get("when", []), file, f"{field}.when")
    for number, one in enumerate(list_of(recipe.get("read", []), file, f"{field}.read")):
        place = f"{field}.read[{number}]"
        reader = mapping_of(one, file, place)
        only(reader, _READER_KEYS, file, f"{place}.")
        if sum(key in reader for key in ("label", "keys", "name")) != 1:
            fail(file, place, "one source of labels is needed", "Give label, keys or name")
        if "name" in reader and words.find(str(reader["name"])) is None:
            fail(file, f"{place}.name", f"{reader['name']!r} is not under labels", "Add it there")
        if reader.get("polarity", "finding") not in POLARITIES:
            fail(file, f"{place}.polarity", "unknown word", f"Use one of {', '.join(POLARITIES)}")
        for key in ("select", "when", "failed"):
            _check_conditions(reader.get(key, []), file, f"{place}.{key}")


def _check_conditions(value: Any, file: str, field: str) -> None:
    for condition in list_of(value, file, field):
        checked = mapping_of(condition, file, field)
        only(checked, _CONDITION_KEYS, file, f"{field}.")
        if "path" not in checked or len(checked) != 2:
            fail(file, field, "a path and one test are needed", "Give e.g. {path: stop, is: true}")


def index_detectors(detectors: Iterable[DetectorMap]) -> dict[str, DetectorMap]:
    """Detectors by folded name and alias. KnowledgeError if two of them claim one name."""
    index: dict[str, DetectorMap] = {}
    for detector in detectors:
        for name in (detector.name, *detector.aliases):
            other = index.setdefault(fold_name(name), detector)
            if other is not detector:
                problem = f"{name!r} belongs to {other.name} already"
                fail(f"detectors/{detector.name}.yaml", "aliases", problem, "Remove one of the two")
    return index


def fold_name(name: str) -> str:
    """Detector names differ in case and separators: `Llama Guard_3` is `llama-guard-3`."""
    return re.sub(r"[\s_\-./]+", "-", name.strip().casefold()).strip("-")

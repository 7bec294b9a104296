"""A tenant's own decisions on labels that no rule of a detector file maps.

They are applied after the rules: to labels that the file does not know, or that it leaves
unmapped. What a file maps stays as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from mapping.engine.decide import keyed_hash
from mapping.engine.detectors import fold_name
from mapping.engine.labels import recordable_label
from mapping.engine.sink import Sink
from mapping.engine.types import HashText
from mapping.engine.vocabulary import LabelRule, fold

_MAX_CHARS: Final = 200  # as in Vocabulary.find: longer texts are looked up exactly alone

# Canonical labels; none: the label states no finding.
Meaning: TypeAlias = tuple[str, ...]


class DecidedLabel(NamedTuple):
    """One decision. The label stands in `label`, or by its keyed hash in `digest`."""

    detector: str
    detector_version: str | None  # None: any
    label: str | None
    digest: str | None
    canonical: Meaning


class _Table:
    """Decisions for one detector and version: exact spelling first, then folded, then hashes."""

    __slots__ = ("digests", "exact", "folded")

    def __init__(self) -> None:
        self.exact: dict[str, Meaning] = {}
        # None: two spellings that fold to the same were decided differently.
        self.folded: dict[str, Meaning | None] = {}
        self.digests: dict[str, Meaning] = {}

    def add(self, decided: DecidedLabel) -> None:
        if decided.label is None:
            if decided.digest is not None:
                self.digests[decided.digest] = decided.canonical
            return
        self.exact[decided.label] = decided.canonical
        folded = fold(decided.label)
        same = self.folded.get(folded, decided.canonical) == decided.canonical
        self.folded[folded] = decided.canonical if same else None


class Decisions:
    """Looks decisions up. Immutable after construction, shared by all threads."""

    __slots__ = ("_count", "_tables")

    def __init__(self, decided: Iterable[DecidedLabel]) -> None:
        """`decided`: those in force; of two for the same label, detector and version the last."""
        # By folded detector name and version; the version is None for decisions on any.
        self._tables: dict[tuple[str, str | None], _Table] = {}
        last = {(fold_name(d.detector), *d[1:4]): d for d in decided}
        for (detector, *_), one in last.items():
            self._tables.setdefault((detector, one.detector_version), _Table()).add(one)
        self._count = len(last)

    def __len__(self) -> int:
        return self._count

    def tables(self, names: Iterable[str], version: str | None) -> list[_Table]:
        """Where to look for a detector under any of its names: its version's before any's."""
        folded = dict.fromkeys(map(fold_name, names))
        versions = (version, None) if version is not None else (None,)
        keys = ((name, one) for one in versions for name in folded)
        return [self._tables[key] for key in keys if key in self._tables]

    def find(
        self, detector: str, version: str | None, label: str | None, digest: str | None = None
    ) -> Meaning | None:
        """What was decided for a label, or for a label known by its hash alone; None: nothing."""
        tables = self.tables((detector,), version)
        if label is None:
            return _by_digest(tables, digest) if digest is not None else None
        return _by_label(tables, label)


def _by_label(tables: Iterable[_Table], label: str) -> Meaning | None:
    for table in tables:
        found = table.exact.get(label)
        if found is None and len(label) <= _MAX_CHARS:
            found = table.folded.get(fold(label))
        if found is not None:
            return found
    return None


def _by_digest(tables: Iterable[_Table], digest: str) -> Meaning | None:
    return next((table.digests[digest] for table in tables if digest in table.digests), None)


def apply_decisions(
    sink: Sink,
    tables: Iterable[_Table],
    severities: Mapping[str, int],
    hash_text: HashText,
) -> None:
    """Replaces what is unknown or unmapped in the sink by what was decided for it.

    A decision for a label that the taxonomy in force does not have is left out of account.
    """
    tables = list(tables)
    if not tables:
        return
    hits: dict[LabelRule | str, list[object]] = {}
    for key, hit in sink.hits.items():
        rule = key
        if isinstance(key, str) or key.kind == "unmapped":
            rule = _decided(key, tables, severities, hash_text) or key
        if isinstance(rule, LabelRule) and rule.kind == "skip":
            sink.dismissed += 1
        else:
            hits[rule] = hit
    sink.hits = hits


def _decided(
    key: LabelRule | str,
    tables: list[_Table],
    severities: Mapping[str, int],
    hash_text: HashText,
) -> LabelRule | None:
    label = key if isinstance(key, str) else key.label
    digest: str | None = None
    if isinstance(key, LabelRule) or recordable_label(key):
        meaning = _by_label(tables, label)
    else:
        if not any(table.digests for table in tables):
            return None
        digest = keyed_hash(key, hash_text)
        meaning = _by_digest(tables, digest)
    if meaning is None or any(canonical not in severities for canonical in meaning):
        return None
    targets = tuple((canonical, severities[canonical]) for canonical in meaning)
    return LabelRule(
        label, "finding" if targets else "skip", targets, method="decision", digest=digest
    )

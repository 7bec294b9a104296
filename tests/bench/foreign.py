"""How well outputs of detectors without a file are read: `python -m tests.bench.foreign`.

Every golden output is read twice: by its detector's own file, and as that of a detector that nobody
knows. The vendor's labels that the own recipe finds are what the generic parser should find: no
more, no less. Method and results: docs/quality.md.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from mapping.engine import DetectorOutput
from mapping.engine.recipes import parse
from mapping.engine.sink import Sink
from mapping.engine.types import FLAGGED
from mapping.engine.vocabulary import LabelRule, Vocabulary, fold
from tests.engine.support import NAMES, document, engine, golden, hash_text, knowledge

UNKNOWN_DETECTOR = "a-detector-without-a-file"
# What a positive verdict without a category is called here, however the vendor words it.
VERDICT = "(verdict)"


def half_of(vendor: str) -> str:
    """Whose outputs may be looked at while the parser is written: by vendor, so that editions of
    one product do not stand in both halves."""
    return "seen" if sha256(vendor.encode()).digest()[0] % 2 else "held out"


@dataclass
class Tally:
    """What was found of what should be found."""

    cases: int = 0
    exact: int = 0  # cases whose sets of labels are equal
    wanted: int = 0
    found: int = 0
    right: int = 0  # found and wanted
    negatives: int = 0  # cases that the detector's own file answers `safe`
    told_safe: int = 0  # of them answered `safe` by the generic parser
    false_safe: int = 0  # answered `safe`, although the own file has a finding or an error
    invented: int = 0  # cases with a label where the own file has none
    misses: list[tuple[str, set[str], set[str]]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Sum up."""
        for name in ("cases", "exact", "wanted", "found", "right", "negatives", "told_safe",
                     "false_safe", "invented"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def row(self) -> list[str]:
        """Cells of the table."""
        return [
            str(self.cases),
            str(self.wanted),
            _share(self.right, self.wanted),
            _share(self.right, self.found),
            _share(self.exact, self.cases),
            str(self.invented),
            _share(self.told_safe, self.negatives),
            str(self.false_safe),
        ]


HEAD = [
    "cases", "labels", "recall", "precision", "exact sets", "cases with invented labels",
    "negatives told", "false `safe`",
]  # fmt: skip


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def vocabulary(name: str) -> Vocabulary:
    """All that the detector's file calls its labels."""
    detector = knowledge().detectors[name]
    entries = document("detectors", name)["labels"]
    aliases = {
        str(alias): rule
        for label, rule in detector.labels.items()
        for alias in entries[label].get("aliases", ())
    }
    return Vocabulary(detector.labels.values(), aliases)


def _spelt(keys: Iterable[LabelRule | str], words: Vocabulary) -> set[str]:
    """Labels in the one spelling of the detector's file; what it calls no finding stays in."""
    found = set()
    for key in keys:
        rule = key if isinstance(key, LabelRule) else words.find(key)
        if rule is not None and [target for target, _ in rule.targets] == [FLAGGED]:
            found.add(VERDICT)
        else:
            found.add(fold(str(key)) if rule is None else rule.label)
    return found


def wanted_labels(name: str, case: dict[str, Any], words: Vocabulary) -> set[str]:
    """What the detector's own recipe finds, but for labels that stand for no finding."""
    sink = Sink()
    detector = knowledge().find_detector(name, case.get("detector_version"))
    assert detector is not None
    detector.reader.read(parse(case["output"]), sink)
    keys = [key for key in sink.hits if isinstance(key, str) or key.kind in ("finding", "unmapped")]
    specific = [key for key in keys if isinstance(key, LabelRule) and not key.generic]
    return _spelt((k for k in keys if isinstance(k, str) or not (k.generic and specific)), words)


def measure(name: str) -> Tally:
    """One detector's golden cases."""
    tally = Tally()
    words = vocabulary(name)
    for case in golden(name):
        wanted = wanted_labels(name, case, words)
        decision, found = read_unknown(case["output"], words)
        tally.cases += 1
        tally.exact += wanted == found
        tally.wanted += len(wanted)
        tally.found += len(found)
        tally.right += len(wanted & found)
        negative = case["expect"]["decision"] == "safe"
        tally.negatives += negative
        tally.told_safe += negative and decision == "safe"
        tally.false_safe += not negative and decision == "safe"
        tally.invented += not wanted and bool(found)
        if wanted != found:
            tally.misses.append((case["id"], wanted, found))
    return tally


def read_unknown(output: Any, words: Vocabulary) -> tuple[str, set[str]]:
    """Decision and labels of the generic parser."""
    digests: dict[str, str] = {}

    def remember(text: str) -> str:
        return digests.setdefault(hash_text(text), text) and hash_text(text)

    result = engine().map(DetectorOutput(UNKNOWN_DETECTOR, output), remember)
    findings = [one for one in result.findings if one.method != "error"]
    labels = [
        one.source_label or digests[one.source_digest or ""]
        for one in findings
        if one.canonical != FLAGGED
    ]
    verdict = {VERDICT for one in findings if one.canonical == FLAGGED}
    return result.decision, _spelt(labels, words) | verdict


def table(tallies: dict[str, Tally]) -> Iterator[str]:
    """Lines of a Markdown table: sums by half first, then each detector."""
    sums = {"seen": Tally(), "held out": Tally(), "all": Tally()}
    halves = {name: half_of(document("detectors", name)["vendor"]) for name in tallies}
    for name, tally in tallies.items():
        sums[halves[name]].add(tally)
        sums["all"].add(tally)
    yield "| | half | " + " | ".join(HEAD) + " |"
    yield "|---" * (len(HEAD) + 2) + "|"
    for half, tally in sums.items():
        count = sum(half in ("all", one) for one in halves.values())
        yield f"| **{count} detectors** | {half} | " + " | ".join(tally.row()) + " |"
    for name, tally in tallies.items():
        yield f"| {name} | {halves[name]} | " + " | ".join(tally.row()) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sums", action="store_true", help="without a line for each detector")
    parser.add_argument("--misses", metavar="DETECTOR", help="cases of one that are read otherwise")
    options = parser.parse_args()
    if options.misses:
        for id_, wanted, found in measure(options.misses).misses:
            print(json.dumps({"id": id_, "missed": sorted(wanted - found),
                              "extra": sorted(found - wanted)}))  # fmt: skip
        return
    lines = list(table({name: measure(name) for name in NAMES}))
    print("\n".join(lines[:5] if options.sums else lines))


if __name__ == "__main__":
    main()

"""Says what is wrong with the samples of a data set.

The prompt, the letters and the completion of a sample follow from its other members, so they are
worked out again and compared. Answers are compared with the detector files and the taxonomy: a set
whose hashes were made anew after a change is still found out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from mapping.engine.propose import spelling
from mapping.engine.vocabulary import fold
from mapping.resolver.prompt import LETTERS, branch, build_prompt, option_text
from mapping.resolver.texts import candidates
from mapping.resolver.types import LabelQuestion, Option
from taxonomy.agreement import of_entry
from training.datasets.findings import Finding, Findings
from training.datasets.privacy import raw_looking
from training.datasets.rows import well_formed
from training.datasets.sides import SIDES, Side
from training.datasets.sources import OF_DETECTORS, Item, Knowledge
from training.encoder.build import answers_of
from training.encoder.data import Dataset
from training.lora.samples import right_letters

MOST_TOKENS: Final = 1_024
_CHARS_A_TOKEN: Final = 3.0  # English has about four; codes and figures have fewer
_TEMPLATE_TOKENS: Final = 24  # marks of the chat's roles
# No line end either: label, description and source are of one line.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INVENTED: Final = frozenset(("synthetic", "glossary"))

Row = Mapping[str, Any]


def validate(
    rows: Mapping[Side, Iterable[Row]],
    known: Knowledge,
    dataset: Dataset,
    invented: Iterable[Item] | None,
    splits: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Finding]:
    """All that is wrong, errors first. `splits`: the manifest's, to be compared.

    `dataset`: of the same knowledge (sources.encoder_dataset). `invented`: what synthetic.invent
    and sources.glossary_items give for the set's seed; None if it was made by another version of
    the wording.
    """
    found = Findings()
    checker = _Checker(known, _Truth(known, dataset, invented), found)
    for side in SIDES:
        for row in rows[side]:
            checker.check(side, row)
    checker.finish(splits)
    return found.all()


class _Checker:
    """Goes through all samples once, and remembers what must be compared between them."""

    def __init__(self, known: Knowledge, truth: "_Truth", found: Findings) -> None:
        self._found = found
        self._labels = known.taxonomy["labels"]
        self._names = frozenset(candidates(known.taxonomy))
        self._offered = self._names | {branch(name) for name in self._names}
        self._raw = cache(lambda text: next(raw_looking(text), None))
        self._option = cache(lambda name: Option(name, option_text(name, self._labels)))
        self._truth = truth
        self._detectors = known.detectors
        self._identities: set[str] = set()
        self._sides: dict[tuple[str, str], set[Side]] = {}
        self._answered: dict[tuple[str, str, str, str], frozenset[str]] = {}
        self._alone: dict[str, set[frozenset[str]]] = {}
        self._prompts: set[tuple[Side, str]] = set()
        self._spelt: dict[tuple[Side, str, str, str, str], str] = {}
        self._described: dict[Side, dict[tuple[str, str], str]] = {side: {} for side in SIDES}
        self._taught: dict[Side, dict[str, set[str]]] = {side: {} for side in SIDES}
        self._counts: dict[Side, tuple[int, set[str]]] = {side: (0, set()) for side in SIDES}

    def check(self, side: Side, row: Row) -> None:
        """One sample by itself, and what it says of others."""
        identity = str(row.get("id", "?"))
        if not well_formed(row):
            self._found.add("format", identity)
            return
        if identity in self._identities:
            self._found.add("identity", identity)
        self._identities.add(identity)
        rows, detectors = self._counts[side]
        if row["kind"] in OF_DETECTORS:
            detectors.add(row["detector"])
        self._counts[side] = (rows + 1, detectors)
        self._texts(identity, row)
        if self._targets(identity, row):
            self._prompt(identity, row)
            self._answers(identity, row)
        self._remember(side, identity, row)

    def _texts(self, identity: str, row: Row) -> None:
        # The prompt is compared with what follows from these: see _prompt.
        whole = " ".join((row["label"], row["description"], row["source"]))
        if _CONTROL.search(whole):
            self._found.add("control", identity)
        if self._raw(whole):
            self._found.add("raw", identity)
        characters = len(row["prompt"][0]["content"]) + len(row["prompt"][1]["content"])
        if characters / _CHARS_A_TOKEN + _TEMPLATE_TOKENS > MOST_TOKENS:
            self._found.add("length", identity)

    def _targets(self, identity: str, row: Row) -> bool:
        known = self._names.issuperset(row["answers"]) and self._offered.issuperset(row["names"])
        if not known:
            self._found.add("target", identity)
        return known

    def _prompt(self, identity: str, row: Row) -> None:
        asked = LabelQuestion(row["detector"], row["label"], row["description"], row["category"])
        options = [self._option(name) for name in row["names"]]
        prompt = build_prompt(asked, options)
        if [prompt.system, prompt.user] != [one["content"] for one in row["prompt"]]:
            self._found.add("prompt", identity)
        if list(prompt.names) != row["names"]:
            self._found.add("prompt", identity)
            return
        letters = right_letters(prompt, row["answers"])
        wrong = tuple(row["letters"]) != letters
        if wrong or row["completion"][0]["content"] not in letters:
            self._found.add("letters", identity)
        if any(letter not in LETTERS[: len(row["names"])] for letter in row["letters"]):
            self._found.add("letters", identity)

    def _answers(self, identity: str, row: Row) -> None:
        truth = self._truth.of(row)
        if truth is None:
            self._found.add("source", identity)
        elif frozenset(row["answers"]) not in truth:
            self._found.add("poisoned", identity)

    def _remember(self, side: Side, identity: str, row: Row) -> None:
        answers = frozenset(row["answers"])
        if row["kind"] in OF_DETECTORS:
            self._sides.setdefault(("detector", row["detector"]), set()).add(side)
            if row["vendor"]:
                self._sides.setdefault(("vendor", row["vendor"]), set()).add(side)
        elif side != "train":
            self._found.add("invented", identity)
        asked = (row["detector"], row["label"], row["description"], row["kind"])
        if row["kind"] in OF_DETECTORS and self._answered.setdefault(asked, answers) != answers:
            self._found.add("contradiction", identity)
        for name in row["answers"]:
            self._taught[side].setdefault(name, set()).add(row["kind"])
        self._compare(side, identity, row)

    def _compare(self, side: Side, identity: str, row: Row) -> None:
        """Texts that are the same, or nearly."""
        label = spelling(row["label"])
        if not row["description"]:
            self._alone.setdefault(label or row["label"], set()).add(frozenset(row["answers"]))
        prompt = (side, row["prompt"][1]["content"])
        if prompt in self._prompts:
            self._found.add("duplicate", identity)
        self._prompts.add(prompt)
        if row["kind"] not in OF_DETECTORS:
            return
        key = (side, row["detector"], label, row["description"], row["kind"])
        if label and self._spelt.setdefault(key, row["source"]) != row["source"]:
            self._found.add("normalised", identity)
        if row["description"]:
            text = (spelling(row["source"]), " ".join(row["description"].casefold().split()))
            self._described[side].setdefault(text, row["vendor"])

    def finish(self, splits: Mapping[str, Mapping[str, Any]] | None) -> None:
        """What shows only when all samples are known."""
        found = self._found
        found.extend(
            "leakage", sorted(f"{k} {n}" for (k, n), on in self._sides.items() if len(on) > 1)
        )
        found.extend(
            "ambiguous", sorted(t for t, several in self._alone.items() if len(several) > 1)
        )
        learnt = self._described["train"]
        for side in ("validation", "test"):
            found.extend(
                "shared", sorted(text[0] for text in self._described[side] if text in learnt)
            )
        kinds = self._taught["train"]
        asked = {*self._taught["validation"], *self._taught["test"]}
        found.extend("unlearnt", sorted(self._names - kinds.keys()))
        found.extend("unseen", sorted(n for n, by in kinds.items() if by.isdisjoint(OF_DETECTORS)))
        if asked:
            found.extend("untested", sorted(self._names - asked))
        seen = {name for kind, name in self._sides if kind == "detector"}
        found.extend("absent", sorted(set(self._detectors) - seen))
        if splits is not None:
            for side in SIDES:
                rows, detectors = self._counts[side]
                said = splits[side]
                if (said["rows"], sorted(said["detectors"])) != (rows, sorted(detectors)):
                    found.add("manifest", side)


class _Truth:
    """What the files say that a sample's label means."""

    def __init__(self, known: Knowledge, dataset: Dataset, invented: Iterable[Item] | None) -> None:
        self._invented: dict[tuple[str, str], set[frozenset[str]]] | None = None
        if invented is not None:
            self._invented = {}
            for item in invented:
                key = (item.example.detector, item.source)
                self._invented.setdefault(key, set()).add(frozenset(item.example.answers))
        self._files: dict[str, dict[str, frozenset[str]]] = {}
        self._meanings: dict[tuple[str, str], str] = {}
        self._folded: dict[str, dict[str, set[frozenset[str]]]] = {}
        for name, file in known.detectors.items():
            exact = self._files.setdefault(name, {})
            folded = self._folded.setdefault(name, {})
            for label, entry in file["labels"].items():
                answers = frozenset(answers_of(of_entry(entry)))
                self._meanings[name, str(label)] = str(entry.get("meaning", ""))
                for text in (str(label), *map(str, entry.get("aliases", ()))):
                    exact.setdefault(text, answers)
                    folded.setdefault(fold(text), set()).add(answers)
        self._aliases: dict[str, set[frozenset[str]]] = {}
        for one in dataset.aliases:
            for text in (one.label, spelling(one.label)):
                self._aliases.setdefault(text, set()).add(frozenset(one.answers))

    def of(self, row: Row) -> Sequence[frozenset[str]] | None:
        """Sets of answers that are right; None if the source does not have the label at all."""
        kind, detector, answers = row["kind"], row["detector"], frozenset(row["answers"])
        if kind == "decision":
            # The detector's file must not say otherwise; mostly it says nothing.
            said = self._folded.get(detector, {}).get(fold(row["source"]))
            return [answers] if said is None else list(said)
        if kind in OF_DETECTORS:
            found = self._files.get(detector, {}).get(row["source"])
            if found is None:
                return None
            # Another description would teach the answer to something else.
            if row["description"] not in ("", self._meanings.get((detector, row["source"]))):
                return []
            # The label as it is asked may be another label of the same file.
            other = self._files[detector].get(row["label"], found)
            return [found] if other == found else []
        told = self._aliases.get(row["source"], set()) or self._aliases.get(spelling(row["source"]))
        if kind in _INVENTED and self._invented is not None:
            told = self._invented.get((detector, row["source"]))
        elif kind in _INVENTED and not told:
            return [answers]
        return list(told) if told else None


def blocking(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Those that forbid training."""
    return (one for one in findings if one.level == "error")

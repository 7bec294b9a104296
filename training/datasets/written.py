"""The glossary: what detectors might call things, written with sight of the taxonomy alone.

See glossary/README.md, also for what this does not catch: a label or description that a detector
file has in the same words is left out, so that a held-out detector's own are not learnt from here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from mapping.engine.propose import spelling
from mapping.resolver.glossary import Array, Entry, packed
from mapping.resolver.lexical import LexicalIndex
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING
from training.datasets.categories import ANY, category_of
from training.encoder.build import answers_of
from training.encoder.data import Example

FOLDER: Final = Path(__file__).with_name("glossary")
VENDOR: Final = "glossary"
_NAMES: Final = {"none": NONE_OF_THESE}


def files(folder: Path = FOLDER) -> list[Path]:
    """The glossary's files, in order."""
    return sorted(folder.glob("*.yaml"))


def read(taxonomy: Mapping[str, Any], folder: Path = FOLDER) -> list[Example]:
    """All entries whose answers the edition has. ValueError for one of another form."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = []
    for path in files(folder):
        content = yaml.load(path.read_text("utf-8"), loader)  # noqa: S506 - a safe loader
        for answer, entries in content.items():
            found += list(_of_answer(answer, entries, taxonomy["labels"], path.name))
    return found


def _of_answer(
    answer: str, entries: Sequence[Sequence[Any]], labels: Mapping[str, Any], place: str
) -> Iterator[Example]:
    for entry in entries:
        if not 2 <= len(entry) <= 3 or not all(isinstance(one, str) for one in entry[:2]):
            raise ValueError(f"{place}: {answer}: an entry is [label, description, [answers]].")
        label, description = (" ".join(one.split()) for one in entry[:2])
        answers = [_NAMES.get(one, one) for one in (answer, *(entry[2] if len(entry) > 2 else ()))]
        # Another edition may lack an answer.
        if all(one in labels or one in (NOT_A_FINDING, NONE_OF_THESE) for one in answers):
            yield _example(label, description, answers_of(answers))


def _example(label: str, description: str, answers: tuple[str, ...]) -> Example:
    """One pseudo-detector for each branch: detectors weigh by the square root of their labels."""
    branch = answers[0].rpartition(".")[0] or answers[0]
    category = category_of(answers[0])
    if category is None:
        category = ANY[hashlib.sha256(label.encode()).digest()[0] % len(ANY)]
    detector = f"{VENDOR}-{branch.lower().replace('.', '-').replace('_', '-')}"
    return Example(detector, VENDOR, category, label, (), description, answers)


def pack(written: Iterable[Example], taxonomy: Mapping[str, Any]) -> dict[str, Array]:
    """As retrieval searches it (mapping.resolver.glossary), n-grams weighed by an edition."""
    entries = [Entry(one.label, one.description, one.answers) for one in written]
    return packed(entries, LexicalIndex(taxonomy).rarity)


def unseen(
    written: Iterable[Example], examples: Iterable[Example], aliases: Iterable[Example]
) -> list[Example]:
    """Without what a detector file has, unless the taxonomy gives the label the same answer.

    What the taxonomy names otherwise is left out too.
    """
    examples = list(examples)
    labels = {spelling(text) or text for one in examples for text in (one.label, *one.aliases)}
    descriptions = {_folded(one.description) for one in examples}
    named: dict[str, set[str]] = {}
    for one in aliases:
        named.setdefault(spelling(one.label), set()).update(one.answers)

    def allowed(one: Example) -> bool:
        key = spelling(one.label) or one.label
        if key in named:
            return not named[key].isdisjoint(one.answers)
        return key not in labels

    return [one for one in written if allowed(one) and _folded(one.description) not in descriptions]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")

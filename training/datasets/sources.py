"""What is known of labels: detector files, golden cases, the taxonomy, approved decisions.

Everything is metadata: labels, our own descriptions and canonical names. Of golden cases only the
spellings of known labels are read, never a text.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import yaml

from mapping.engine.labels import recordable_label
from mapping.engine.vocabulary import fold
from mapping.resolver.types import NOT_A_FINDING
from taxonomy.agreement import of_entry
from training.datasets import written
from training.datasets.written import unseen
from training.encoder.build import answers_of, build
from training.encoder.data import Dataset, Example

Kind: TypeAlias = Literal["detector", "golden", "alias", "decision", "synthetic", "glossary"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
OF_DETECTORS: Final[frozenset[Kind]] = frozenset(("detector", "golden", "decision"))
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DECISION: Final = frozenset(("detector", "version", "label", "canonical"))


class SourceError(ValueError):
    """A source cannot be used. The message names file, line and remedy, and quotes no label."""


class Item(NamedTuple):
    """Something that a label question is made of. `source`: how the label is spelt in its file."""

    kind: Kind
    example: Example
    source: str

    @property
    def vendor(self) -> str:
        """Who is on one side of the splits only: the vendor, or else the detector."""
        return self.example.vendor or self.example.detector


class Knowledge(NamedTuple):
    """One edition of the taxonomy, the detector files, and the digests of what was read."""

    taxonomy: Mapping[str, Any]
    detectors: Mapping[str, Mapping[str, Any]]
    golden: Mapping[str, Path]
    glossary: Sequence[Example]
    digests: dict[str, str]  # name of a source -> SHA-256


def read_knowledge(directory: Path, edition: str) -> Knowledge:
    """From the knowledge folder. Raises SourceError."""
    path = directory / "taxonomy" / f"{edition}.yaml"
    if not path.is_file():
        raise SourceError(f"{path}: there is no such edition. Give --directory and --edition.")
    files = sorted(directory.glob("detectors/*.yaml"))
    golden = sorted(directory.glob("golden/*.jsonl"))
    detectors = {one["detector"]: one for one in map(_yaml, files)}
    if not detectors:
        raise SourceError(f"{directory}/detectors: holds no detector. Give --directory.")
    digests = {
        f"taxonomy {edition}": file_digest([path]),
        "detectors": file_digest(files),
        "golden": file_digest(golden),
        "glossary": file_digest(written.files()),
    }
    taxonomy = _yaml(path)
    try:
        glossary = written.read(taxonomy)
    except (ValueError, yaml.YAMLError) as error:
        raise SourceError(f"The glossary cannot be read: {error}") from None
    return Knowledge(taxonomy, detectors, {one.stem: one for one in golden}, glossary, digests)


def file_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(
            f"{path.name}: cannot be read ({type(error).__name__}). `manage.py validate_config` "
            "says what is wrong."
        ) from None
    if not isinstance(content, dict):
        raise SourceError(f"{path.name}: is no mapping. `manage.py validate_config` says more.")
    return content


def encoder_dataset(known: Knowledge, decisions: Iterable[Example] = ()) -> Dataset:
    """What the encoder learns from, the same as of `python -m training.encoder data`."""
    plain = build(known.taxonomy, known.detectors.values(), decisions)
    kept = unseen(known.glossary, plain.examples, plain.aliases)
    return plain._replace(written=kept)


def items(known: Knowledge, dataset: Dataset) -> list[Item]:
    """Everything but what is invented: detectors' labels, golden spellings, aliases, decisions."""
    found = [
        Item("detector" if _in_file(known, one) else "decision", one, one.label)
        for one in dataset.examples
    ]
    found += [Item("alias", one, one.label) for one in dataset.aliases]
    return [*found, *golden_spellings(known, dataset)]


def glossary_items(glossary: Iterable[Example], count: int, seed: int) -> list[Item]:
    """At most `count` labels of the glossary for each answer, drawn by `seed`."""
    by_answer: dict[str, list[Example]] = {}
    for one in glossary:
        by_answer.setdefault(one.answers[0], []).append(one)
    found = []
    for answer, several in by_answer.items():
        chance = random.Random(f"{seed}/glossary/{answer}")  # noqa: S311 - repeatable on purpose
        chosen = chance.sample(several, min(count, len(several)))
        found += [Item("glossary", one, one.label) for one in chosen]
    return found


def _in_file(known: Knowledge, one: Example) -> bool:
    file = known.detectors.get(one.detector)
    return file is not None and one.label in file["labels"]


def golden_spellings(known: Knowledge, dataset: Dataset) -> Iterator[Item]:
    """Labels as golden outputs spell them, where the detector's file spells them otherwise.

    A spelling counts only in a case whose expected answer has the label's.
    """
    for name, path in known.golden.items():
        examples = {one.label: one for one in dataset.examples if one.detector == name}
        file = known.detectors.get(name)
        if file is None:
            continue
        spelt, own = _spellings(file)
        seen: set[str] = set()
        for output, expected in _outputs(path):
            for text in _texts(output):
                label = spelt.get(fold(text)) if len(text) <= 100 else None
                if label is None or label not in examples or text.strip() in own | seen:
                    continue
                if expected.issuperset(of_entry(file["labels"][label])):
                    seen.add(text.strip())
                    one = examples[label]._replace(label=text.strip(), aliases=())
                    yield Item("golden", one, label)


def _spellings(file: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    """Labels of a file by folded spelling, and the spellings that the file has itself."""
    found: dict[str, str] = {}
    own: set[str] = set()
    for label, entry in file["labels"].items():
        for text in (str(label), *map(str, entry.get("aliases", ()))):
            found.setdefault(fold(text), label)
            own.add(text)
    return found, own


def _outputs(path: Path) -> Iterator[tuple[Any, frozenset[str]]]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                case = json.loads(line)
                yield case["output"], frozenset(case["expect"]["labels"])
            except (json.JSONDecodeError, KeyError, TypeError):
                raise SourceError(
                    f"golden/{path.name}:{number}: is no golden case. `manage.py check_golden` "
                    "says what is wrong."
                ) from None


def _texts(value: Any) -> Iterator[str]:
    """Every name and text of an output."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def read_decisions(path: Path, known: Knowledge) -> tuple[list[Example], int]:
    """Approved decisions, as `manage.py export_decisions` prints them, and how many were left out.

    Lines of one label are one example. Left out: labels that the detector's own file has, whose
    answer stands there. Raises SourceError for a line of another form, a label that may not be
    recorded, and a canonical label that the edition does not have.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path.name}: cannot be read ({type(error).__name__}). Check path, rights and UTF-8."
        ) from None
    found: dict[tuple[str, str, str], list[str]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            key, answer = _decision(line, f"{path.name}:{number}", known.taxonomy)
            found.setdefault(key, []).append(answer)
    examples = []
    left_out = 0
    # The newest version of a detector is the last of its versions' names.
    for (detector, label, _), answers in {k[:2]: (k, a) for k, a in sorted(found.items())}.values():
        file = known.detectors.get(detector, {})
        if file and fold(label) in _spellings(file)[0]:
            left_out += 1
            continue
        vendor = str(file.get("vendor") or "").casefold()
        category = str(file.get("category") or "")
        answered = answers_of(sorted(set(answers)))
        examples.append(Example(detector, vendor, category, label, (), "", answered))
    return examples, left_out


def _decision(
    line: str, place: str, taxonomy: Mapping[str, Any]
) -> tuple[tuple[str, str, str], str]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        entry = None
    if not isinstance(entry, dict) or entry.keys() != _DECISION:
        raise SourceError(
            f"{place}: is no decision. Give what `manage.py export_decisions` prints."
        )
    detector, version, label = entry["detector"], entry["version"] or "", entry["label"]
    canonical = entry["canonical"]
    if not all(isinstance(one, str) for one in (detector, version, label)):
        raise SourceError(f"{place}: detector, version and label must be text. Export anew.")
    if not recordable_label(label):
        raise SourceError(f"{place}: the label may not be recorded. Take the line out.")
    if canonical is not None and canonical not in taxonomy["labels"]:
        raise SourceError(
            f"{place}: the canonical label is not in edition {taxonomy['edition']}. Export anew "
            "after the migration, or take the line out."
        )
    return (detector, label, version), NOT_A_FINDING if canonical is None else canonical

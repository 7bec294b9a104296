"""Labels of invented detectors, the same number for every answer.

Names and descriptions are our own (wording.yaml); answers without an entry there, of a later
edition, get theirs from the taxonomy's meaning. Detectors that work by regular expressions state
the expression or a text that it matches, of ranges that nobody has (patterns.py).
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import yaml

from mapping.engine.propose import spelling, words
from training.datasets.categories import ANY, category_of
from training.datasets.patterns import PATTERNS, Pattern, matching
from training.datasets.sources import Item
from training.datasets.spellings import Known
from training.encoder.data import Example

_T = TypeVar("_T")
VENDOR: Final = "invented"
WORDING: Final = Path(__file__).with_name("wording.yaml")
_SLOT: Final = re.compile(r"\{(\w+)\}")
_SUBJECT: Final = re.compile(r"^(?:An? |The )?(.+?) (?:is|stays) ")


class Wording(NamedTuple):
    """Our own names and descriptions. See wording.yaml."""

    slots: Mapping[str, Sequence[str]]
    answers: Mapping[str, Mapping[str, Sequence[str]]]


class _Vendor(NamedTuple):
    """An invented detector: how it spells labels and words descriptions."""

    name: str
    spell: Callable[[list[str], int], str]
    frames: tuple[str, ...]


_CODES: Final = "SOCHKR"


def _capitals(parts: list[str]) -> list[str]:
    return [one.capitalize() for one in parts]


def _code(number: int) -> str:
    return f"{_CODES[number % len(_CODES)]}{number}"


_VENDORS: Final = (
    _Vendor("invented-snake", lambda parts, _: "_".join(parts), ("{}", "detector: {}")),
    _Vendor("invented-upper", lambda parts, _: "_".join(parts).upper(), ("{}", "entity: {}")),
    _Vendor(
        "invented-camel",
        lambda parts, _: "".join(_capitals(parts)),
        ("scanner: {}", "{}, in prompts and answers"),
    ),
    _Vendor("invented-title", lambda parts, _: " ".join(_capitals(parts)), ("{}", "category: {}")),
    _Vendor("invented-kebab", lambda parts, _: "-".join(parts), ("{}", "rule: {}")),
    _Vendor(
        "invented-path",
        lambda parts, number: f"checks/{number:02d}/{'-'.join(parts)}",
        ("{}", "check: {}"),
    ),
    _Vendor(
        "invented-named-code",
        lambda parts, number: f"{_code(number)}: {' '.join(_capitals(parts))}",
        ("{}", "class: {}"),
    ),
    # A code alone says nothing: its description has the name too.
    _Vendor("invented-code", lambda _, number: _code(number), ("{name}: {}", "{name}; {}")),
)


def read_wording(path: Path = WORDING) -> Wording:
    """The file beside this module."""
    content = yaml.safe_load(path.read_text("utf-8"))
    return Wording(content["slots"], content["answers"])


def invent(
    taxonomy: Mapping[str, Any], answers: Sequence[str], known: Known, count: int, seed: int
) -> list[Item]:
    """`count` labels for each of the answers. The same seed gives the same labels."""
    wording = read_wording()
    return [
        Item("synthetic", one, one.label)
        for answer in answers
        for one in _of_answer(answer, taxonomy["labels"], wording, known, count, seed)
    ]


def _of_answer(
    answer: str,
    labels: Mapping[str, Any],
    wording: Wording,
    known: Known,
    count: int,
    seed: int,
) -> Iterator[Example]:
    chance = random.Random(f"{seed}/{answer}")  # noqa: S311 - repeatable on purpose
    names = _names(answer, labels.get(answer), wording, known, chance)
    phrases = _says(answer, labels.get(answer), wording, chance)
    says, slots = list(phrases), wording.slots
    patterns = PATTERNS.get(answer, ())
    category = category_of(answer) or chance.choice(ANY)
    first = chance.randrange(len(_VENDORS))
    for number in range(count):
        says = says or list(phrases)
        vendor = _VENDORS[(first + number) % len(_VENDORS)]
        name = next(names)
        phrase = _SLOT.sub(lambda slot: chance.choice(list(slots[slot[1]])), _take(says, name))
        if patterns and number % 3 == 2:
            pattern = chance.choice(patterns)
            name, phrase = words(pattern.name), _of_pattern(pattern, chance)
        label = vendor.spell(name, chance.randint(1, 60))
        if not known.allows(label, (answer,)):
            label = "_".join(name)
        frame = chance.choice(vendor.frames)
        text = frame.replace("{name}", " ".join(name)).replace("{}", phrase)
        yield Example(vendor.name, VENDOR, category, label, (), text, (answer,))


def _names(
    answer: str,
    entry: Mapping[str, Any] | None,
    wording: Wording,
    known: Known,
    chance: random.Random,
) -> Iterator[list[str]]:
    """Names in words, without end; our own first. Those that mean something else are left out."""
    own = list(wording.answers.get(answer, {}).get("names", ()))
    other = [] if entry is None else list(entry["aliases"])
    parts = answer.split(".")
    if parts[-1] != "Other" and entry is not None:
        # The last part alone (`Gender`) may be that of several labels.
        other.append(" ".join(words(" ".join(parts[-2:]))))
    chance.shuffle(own)
    chance.shuffle(other)
    found = [text for text in (*own, *other) if known.allows(spelling(text), (answer,))]
    return _endless([words(text) for text in found or [answer]])


def _says(
    answer: str, entry: Mapping[str, Any] | None, wording: Wording, chance: random.Random
) -> list[str]:
    """Noun phrases: our own in an order of chance, then the taxonomy's meaning."""
    own = list(wording.answers.get(answer, {}).get("says", ()))
    chance.shuffle(own)
    if entry is not None:
        meaning = _lower(entry["meaning"])
        boundary = _SUBJECT.match(entry.get("boundary", ""))
        own.append(f"{meaning}; not {boundary[1]}" if boundary else meaning)
    return own


def _take(says: list[str], name: Sequence[str]) -> str:
    """Takes out the phrase that shares most words with the name, so that both fit together."""
    stems = {word[:4] for word in name if len(word) > 3}
    shared = [len(stems.intersection(word[:4] for word in words(text))) for text in says]
    return says.pop(shared.index(max(shared)))


def _of_pattern(pattern: Pattern, chance: random.Random) -> str:
    text = matching(pattern, chance)
    return chance.choice(
        (
            f"{pattern.says}, such as {text}",
            f"{pattern.says}: {pattern.regex}",
            f"matches of {pattern.regex}, for example {text}",
        )
    )


def _lower(meaning: str) -> str:
    """A meaning as a part of a sentence."""
    text = meaning.rstrip(".")
    text = re.sub(r"^(?:A|An|The) ", lambda found: found.group().lower(), text)
    plain = text[:2].istitle() and not text[:2].isupper()
    return text[0].lower() + text[1:] if plain else text


def _endless(found: Sequence[_T]) -> Iterator[_T]:
    while True:
        yield from found

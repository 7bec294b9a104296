"""What the encoder learns from, and its file."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Example(NamedTuple):
    """A label with its answers. `aliases`: other spellings of the label in the same file."""

    detector: str
    vendor: str
    category: str
    label: str
    aliases: tuple[str, ...]
    description: str
    answers: tuple[str, ...]


class Dataset(NamedTuple):
    """What the encoder learns from."""

    examples: list[Example]  # labels of detectors: what is held out and scored
    aliases: list[Example]  # the taxonomy's own: no detector's, so never held out
    texts: dict[str, str]  # answer -> text, in the order of the classes
    written: Sequence[Example] = ()  # the glossary: no detector's either

    @property
    def always(self) -> list[Example]:
        """What is learnt from whoever is held out."""
        return [*self.aliases, *self.written]

    @property
    def digest(self) -> str:
        """SHA-256 of the content: names the data set that a model was made of."""
        content = json.dumps(self, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def content_of(dataset: Dataset) -> dict[str, Any]:
    """As a JSON object."""
    return {
        "examples": [one._asdict() for one in dataset.examples],
        "aliases": [one._asdict() for one in dataset.aliases],
        "texts": dataset.texts,
        "written": [one._asdict() for one in dataset.written],
    }


def write(path: Path, dataset: Dataset) -> None:
    """As one JSON file."""
    path.write_text(json.dumps(content_of(dataset)), encoding="utf-8")


def read(path: Path) -> Dataset:
    """What `write` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Dataset(
        [_example(one) for one in content["examples"]],
        [_example(one) for one in content["aliases"]],
        content["texts"],
        [_example(one) for one in content.get("written", ())],
    )


def _example(content: dict[str, Any]) -> Example:
    lists = {name: tuple(content[name]) for name in ("aliases", "answers")}
    return Example(**(content | lists))

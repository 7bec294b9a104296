"""The texts that the encoder compares: of a vendor's label and of canonical labels.

Training and serving share this module. A change of any text here needs an encoder trained anew.
"""

from collections.abc import Mapping
from typing import Any, Final

from mapping.engine.propose import words
from mapping.engine.types import SAFE, UNKNOWN
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion

_MOST_ALIASES: Final = 12
_LABEL_CHARS: Final = 200
DESCRIPTION_CHARS: Final = 400
# Answers that are no label; SAFE and UNKNOWN would only be other names for them.
_OUTCOMES: Final[Mapping[str, str]] = {
    NOT_A_FINDING: "no finding: safe, passed, benign, clean, valid, or a neutral status or setting",
    NONE_OF_THESE: "no canonical label: a measurement, score or property that names no finding",
}


def candidates(taxonomy: Mapping[str, Any]) -> dict[str, str]:
    """Every answer to a question with the text that stands for it, in the order of their names.

    `taxonomy`: the parsed file of an edition.
    """
    labels = {
        name: label_text(name, entry)
        for name, entry in taxonomy["labels"].items()
        if name not in (SAFE, UNKNOWN)
    }
    return dict(sorted({**labels, **_OUTCOMES}.items()))


def label_text(name: str, entry: Mapping[str, Any]) -> str:
    """A canonical label: its name in words, its meaning, its aliases."""
    aliases = ", ".join(map(str, entry.get("aliases", ())[:_MOST_ALIASES]))
    text = f"{spoken(name)}. {entry['meaning']}"
    return f"{text} {aliases}." if aliases else text


def query_text(question: LabelQuestion) -> str:
    """A vendor's label: its words, the vendor's description, and the kind of detector."""
    text = spoken(question.label[:_LABEL_CHARS])
    if question.description:
        text += f": {' '.join(question.description.split())[:DESCRIPTION_CHARS]}"
    if question.category:
        text += f" ({question.category.replace('-', ' ')})"
    # Lone surrogates are taken by no tokenizer and no hash.
    return text.encode("utf-8", "replace").decode("utf-8")


def spoken(label: str) -> str:
    """A label's words; the label as it is where it has letters that `words` does not know."""
    found = words(label) if label.isascii() else []
    return " ".join(found) or " ".join(label.split())

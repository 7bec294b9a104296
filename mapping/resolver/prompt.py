"""The prompt: a vendor's label and lettered options; the model's answer is one letter.

Options stand in the order of their names, whatever order they come in, so that the order of
retrieval can never change an answer. Training and serving share this module: a model is only as
good as the prompt that it was trained on, so a change of any text here needs a new VERSION.
"""

import hashlib
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mapping.engine.propose import words
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion, Option, Prompt

LETTERS: Final = string.ascii_uppercase
MAX_OPTIONS: Final = len(LETTERS)
SYSTEM: Final = (
    "A safety detector reported a label. Choose the option that names the same thing. "
    "Answer with its letter alone."
)
_DESCRIPTION_CHARS: Final = 240
_LABEL_CHARS: Final = 120
_GLOSS_CHARS: Final = 48


def build_prompt(question: LabelQuestion, options: Sequence[Option]) -> Prompt:
    """The prompt of a question. Raises ValueError without options, or with more than letters."""
    if not 0 < len(options) <= MAX_OPTIONS:
        raise ValueError(f"{len(options)} options: give 1 to {MAX_OPTIONS}.")
    ordered = sorted(options)
    lines = [f"Label: {_one_line(question.label, _LABEL_CHARS)}"]
    if question.category:
        lines.append(f"Kind of detector: {_one_line(question.category, _LABEL_CHARS)}")
    if question.description:
        lines.append(f"Meaning: {_one_line(question.description, _DESCRIPTION_CHARS)}")
    lines += [f"{letter} {option.text}" for letter, option in zip(LETTERS, ordered, strict=False)]
    return Prompt(SYSTEM, "\n".join(lines), tuple(option.name for option in ordered))


def options_for(shortlist: Iterable[str], taxonomy: Mapping[str, Any]) -> list[Option]:
    """Options of a shortlist: its labels, the branches of the first three, and none of these.

    `taxonomy`: the parsed file of an edition. A branch that has an `Other` label needs no option
    of its own: that label stands for it. "None of these" is offered once, whether the shortlist
    has it or not: twice, it would have two letters, which share its probability.
    """
    labels = taxonomy["labels"]
    nearest = list(dict.fromkeys(shortlist))
    names = [name for name in nearest if name != NONE_OF_THESE]
    branches = dict.fromkeys(branch(name) for name in nearest[:3])
    for name in branches:
        if name and not name.startswith("OTHER") and f"{name}.Other" not in labels:
            names.append(name)
        elif name and f"{name}.Other" in labels and f"{name}.Other" not in names:
            names.append(f"{name}.Other")
    options = [Option(name, option_text(name, labels)) for name in names]
    return [*options, Option(NONE_OF_THESE, option_text(NONE_OF_THESE, labels))]


def branch(name: str) -> str:
    """The branch that a label stands on; empty for an answer that is no label."""
    return name.rpartition(".")[0]


def option_text(name: str, labels: Mapping[str, Any]) -> str:
    """How an option reads: its name in words, and the beginning of its meaning."""
    if name == NOT_A_FINDING:
        return "no finding: safe, passed, or no verdict"
    if name == NONE_OF_THESE:
        return "none of these"
    spoken = " ".join(words(" ".join(name.split(".")[-2:])))
    entry = labels.get(name)
    if entry is None:
        return f"{spoken}: another or unstated kind"
    return f"{spoken}: {_cut(str(entry['meaning']), _GLOSS_CHARS)}"


def prompt_version() -> str:
    """Changes with any text above: part of what a calibrator is fitted for."""
    sample = LabelQuestion("d", "label", "meaning", "kind")
    options = [Option("A.B", option_text("A.B", {"A.B": {"meaning": "word " * 40}}))]
    prompt = build_prompt(sample, [*options, Option(NONE_OF_THESE, "none of these")])
    return hashlib.sha256(repr(prompt).encode()).hexdigest()[:12]


def _cut(text: str, chars: int) -> str:
    """The beginning of a text, ended at a word."""
    text = " ".join(text.split())
    if len(text) <= chars:
        return text.rstrip(".")
    return text[:chars].rpartition(" ")[0].rstrip(",;:.") or text[:chars]


def _one_line(text: str, chars: int) -> str:
    return _cut("".join(c if c.isprintable() else " " for c in text), chars)

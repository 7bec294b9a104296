"""The questions of a data set's held-out sides, as the resolver would ask them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mapping.resolver.prompt import build_prompt, option_text
from mapping.resolver.types import LabelQuestion, Option


class HeldOutError(ValueError):
    """The data set cannot be used to judge this model. The message says what to do."""


class HeldOut(NamedTuple):
    """A question that the model has not learnt from, and what is right."""

    question: LabelQuestion
    options: tuple[Option, ...]
    source: str  # the label as its file spells it
    vendor: str  # or the detector, where the file names none: held out together
    right: frozenset[str]

    @property
    def detector(self) -> str:
        """Whose label it is."""
        return self.question.detector


def held_out(rows: Iterable[Mapping[str, Any]], labels: Mapping[str, Any]) -> list[HeldOut]:
    """From the rows of a side. `labels`: the edition's entries by name.

    Raises HeldOutError if a row was written for another prompt than the one that is served.
    """
    return list(_read(rows, labels))


def _read(rows: Iterable[Mapping[str, Any]], labels: Mapping[str, Any]) -> Iterator[HeldOut]:
    for row in rows:
        question = LabelQuestion(row["detector"], row["label"], row["description"], row["category"])
        options = tuple(Option(name, option_text(name, labels)) for name in row["names"])
        prompt = build_prompt(question, options)
        if [prompt.system, prompt.user] != [message["content"] for message in row["prompt"]]:
            raise HeldOutError(
                f"Sample {row['id']} was written for another prompt than the one that is served. "
                "Build the data set anew and train on it: `manage.py build_dataset`."
            )
        yield HeldOut(
            question,
            options,
            row["source"],
            row["vendor"] or row["detector"],
            frozenset(row["answers"]),
        )


def sides_apart(*sides: Sequence[HeldOut]) -> None:
    """Raises HeldOutError if a vendor's labels are on two sides, or a side is empty."""
    seen: set[str] = set()
    for side in sides:
        vendors = {one.vendor for one in side}
        if not vendors:
            raise HeldOutError(
                "A held-out side of the data set is empty. Build one that holds detectors out."
            )
        if both := sorted(seen & vendors):
            raise HeldOutError(
                f"Labels of {', '.join(both[:3])} are on two sides of the data set: its figures "
                "would mean nothing. Build it anew."
            )
        seen |= vendors

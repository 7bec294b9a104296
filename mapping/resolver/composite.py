"""Labels that join several things: `drugs, weapons and banned substances`."""

import re
from typing import Final

from mapping.resolver.settle import Verdict
from mapping.resolver.types import LabelQuestion

_JOIN: Final = re.compile(r"\s*(?:[,;|&+]|\b(?:and|or)\b)\s*", re.IGNORECASE)
_LETTERS: Final = re.compile(r"[^\W\d_]{3,}")
_MOST: Final = 4
# How sure a part must be to add its label: a wrong label more costs a reader more than one less.
_SURE: Final = 0.8


def parts_of(question: LabelQuestion) -> list[LabelQuestion]:
    """A question for each thing that the label joins; none if it joins nothing.

    A stroke joins no things: `hate/threatening` is one kind of hate. The description is of the
    whole, so the parts go without.
    """
    found = [part for part in _JOIN.split(question.label) if _LETTERS.search(part)]
    if not 2 <= len(found) <= _MOST:
        return []
    return [question._replace(label=part, description="") for part in found]


def with_parts(whole: Verdict, parts: list[Verdict]) -> Verdict:
    """The whole label's verdict, with the labels that its parts are sure of added."""
    sure = [part.labels[0] for part in parts if part.confidence >= _SURE]
    added = [name for name in sure if _is_label(name) and name not in whole.labels]
    if not added or not _is_label(whole.labels[0]):
        return whole
    return whole._replace(labels=tuple(dict.fromkeys((*whole.labels, *added))))


def _is_label(name: str) -> bool:
    return "." in name and not name.startswith("OTHER.")

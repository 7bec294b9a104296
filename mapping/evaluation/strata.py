"""How hard a case is by its label, decided from the label and the expected answer alone.

The first that fits:

no finding
    No kind of finding is expected: `not_a_finding`, `unmapped`, or outcomes (OTHER.*) alone.
name-equal
    The label's words are those of an expected label's name, or of the name's last part.
opaque code
    The label says nothing without the vendor's documentation: it has a digit and no run of more
    than four letters (`S2`, `B107`, `AML.T0051`), or no run of more than two letters (`O`);
    the words label, class and category do not count (`LABEL_0`).
composite
    Several labels are expected, or the label itself joins several things with one of `, ; | & +`
    or the word "and" or "or".
synonym
    All others: the label describes in words of its own what the taxonomy names otherwise.

The taxonomy's aliases play no part: a case stays in its stratum when somebody adds an alias.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias, get_args

from mapping.engine.propose import spelling, words
from mapping.resolver.types import NOT_A_FINDING

UNMAPPED: Final = "unmapped"
Stratum: TypeAlias = Literal["name-equal", "synonym", "opaque code", "composite", "no finding"]
STRATA: Final[tuple[Stratum, ...]] = get_args(Stratum)
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_NO_WORDS: Final = frozenset(("label", "class", "category"))
_JOINS: Final = re.compile(r"[,;|&+]")
_JOINING_WORDS: Final = frozenset(("and", "or"))


def stratum(output: Any, expected: Iterable[str]) -> Stratum:
    """The stratum of a case. An output that is no text is taken by its expected labels alone."""
    findings = [one for one in expected if not is_outcome(one)]
    label = output if isinstance(output, str) else ""
    if not findings:
        return "no finding"
    if label and spelling(label) in {name for one in findings for name in _names(one)}:
        return "name-equal"
    if label and is_opaque(label):
        return "opaque code"
    if len(findings) > 1 or _JOINS.search(label) or not _JOINING_WORDS.isdisjoint(words(label)):
        return "composite"
    return "synonym"


def is_outcome(label: str) -> bool:
    """Whether a label names no kind of finding."""
    return label in (NOT_A_FINDING, UNMAPPED) or label.startswith("OTHER.")


def is_opaque(label: str) -> bool:
    """Whether a label is a code: see the module's text."""
    runs = [run for run in _LETTERS.findall(label) if run.casefold() not in _NO_WORDS]
    longest = max(map(len, runs), default=0)
    return longest <= (4 if any(map(str.isdigit, label)) else 2)


def _names(canonical: str) -> tuple[str, str]:
    return spelling(canonical), spelling(canonical.rpartition(".")[2])

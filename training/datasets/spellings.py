"""Other spellings of a label, as vendors really differ; none means anything else.

Case and separators; prefixes and endings; plurals; abbreviations; numbered codes before a name.
What is drawn depends on the seed alone.
"""

import random
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mapping.engine.propose import spelling
from mapping.evaluation.strata import is_opaque
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING
from training.encoder.data import Dataset, Example

# Both directions are drawn: one vendor's abbreviation is another one's full name.
_ABBREVIATIONS: Final = (
    ("account", "acct"),
    ("address", "addr"),
    ("authentication", "auth"),
    ("authorization", "authz"),
    ("bank account", "bank acct"),
    ("birth date", "dob"),
    ("card verification value", "cvv"),
    ("chemical biological radiological nuclear", "cbrn"),
    ("configuration", "config"),
    ("connection string", "conn str"),
    ("credential", "cred"),
    ("credentials", "creds"),
    ("credit card", "cc"),
    ("cross site scripting", "xss"),
    ("cryptocurrency", "crypto"),
    ("database", "db"),
    ("date of birth", "dob"),
    ("denial of service", "dos"),
    ("driver license", "dl"),
    ("drivers license", "dl"),
    ("driving licence", "dl"),
    ("environment", "env"),
    ("exfiltration", "exfil"),
    ("identification", "id"),
    ("identifier", "id"),
    ("information", "info"),
    ("internet protocol", "ip"),
    ("json web token", "jwt"),
    ("language", "lang"),
    ("medical record number", "mrn"),
    ("not safe for work", "nsfw"),
    ("number", "no"),
    ("number", "num"),
    ("organisation", "org"),
    ("organization", "org"),
    ("password", "pwd"),
    ("personally identifiable information", "pii"),
    ("phone number", "phone no"),
    ("private key", "priv key"),
    ("protected health information", "phi"),
    ("remote code execution", "rce"),
    ("server side request forgery", "ssrf"),
    ("social security number", "ssn"),
    ("sql injection", "sqli"),
    ("subscriber identity", "imsi"),
    ("tax identification number", "tin"),
    ("telephone", "tel"),
    ("uniform resource locator", "url"),
    ("vehicle identification number", "vin"),
    ("vulnerability", "vuln"),
    ("zip code", "zip"),
)
# "no" and "dl" are words of other meanings too: never read back into what they shorten.
_ONE_WAY: Final = frozenset(("no", "num", "id", "dl", "tel", "auth", "cred", "db", "lang", "org"))
_COUNTED: Final = frozenset(
    (
        "account", "address", "card", "code", "credential", "crime", "date", "email", "identifier",
        "insult", "key", "link", "location", "name", "number", "password", "secret", "slur",
        "threat", "token", "url", "weapon",
    )
)  # fmt: skip
_BIO: Final = re.compile(r"^([BIELSU])-(?=[A-Za-z])")
_JOINS: Final = re.compile(r"[,;|&+()]")
# By the detector's category, never by the answer: a prefix must not give the answer away.
_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "pii": ("pii", "pii type", "entity", "dlp"),
    "secrets": ("secret", "leak", "rule"),
    "prompt-injection": ("guard", "scanner", "input"),
    "content-safety": ("content", "moderation", "hazard"),
    "bias": ("fairness", "responsible ai"),
    "quality": ("eval", "metric"),
    "code": ("code", "finding"),
    "security": ("sec", "finding"),
    "agent": ("agent", "check"),
}
_ANY_FAMILY: Final = ("category", "label", "check", "type")
_SCORED: Final = frozenset(("content-safety", "bias", "prompt-injection"))
_CODES: Final = ("S", "O", "C", "CAT-", "R", "H", "P-")
_CODE: Final = re.compile(r"^[A-Z]{1,3}-?\d{1,3}: *(?=\w)")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+")


class Known(NamedTuple):
    """Which answers a spelling is known to have: a guard against spellings of something else."""

    answers: Mapping[str, frozenset[tuple[str, ...]]]  # by spelling
    own: Mapping[tuple[str, str], frozenset[tuple[str, ...]]]  # by detector and spelling

    @classmethod
    def of(cls, dataset: Dataset) -> "Known":
        """From every label, alias and name."""
        found: dict[str, set[tuple[str, ...]]] = {}
        own: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        for one in dataset.examples + dataset.aliases:
            answers = tuple(sorted(one.answers))
            for text in {spelling(text) or text for text in (one.label, *one.aliases)}:
                found.setdefault(text, set()).add(answers)
                own.setdefault((one.detector, text), set()).add(answers)
        return cls(
            {text: frozenset(several) for text, several in found.items()},
            {key: frozenset(several) for key, several in own.items()},
        )

    def allows(self, text: str, answers: Iterable[str], detector: str = "") -> bool:
        """False for a spelling that is known, and known for other answers alone.

        Within one detector's file it must not have other answers at all: some files tell `malware`
        from `Malware`.
        """
        meant = tuple(sorted(answers))
        key = spelling(text) or text
        known = self.answers.get(key)
        if self.own.get((detector, key), frozenset((meant,))) != {meant}:
            return False
        return known is None or meant in known


def respell(label: str, one: Example, known: Known, chance: random.Random) -> str:
    """A label of an example in another spelling; as it is where none can be made.

    Outcomes (no finding, none of these) get no affix: `O` with a prefix would be a finding.
    """
    text = _respelt(label, one, chance)
    return text if text and known.allows(text, one.answers, one.detector) else label


def _respelt(label: str, one: Example, chance: random.Random) -> str:
    stem = _CODE.sub("", _BIO.sub("", label))
    parts = [part.casefold() for part in _PART.findall(stem)] if stem.isascii() else []
    # Codes, and titles that join several names: case alone.
    if not parts or is_opaque(label) or _JOINS.search(label) or len(parts) > 8:
        return chance.choice((label, label.upper(), label.lower()))
    if not {NOT_A_FINDING, NONE_OF_THESE}.isdisjoint(one.answers):
        return _style(parts, chance)
    if chance.random() < 0.35:
        parts = _shorten(parts, chance)
    if parts[-1] in _COUNTED and chance.random() < 0.15:
        parts = [*parts[:-1], _plural(parts[-1])]
    if chance.random() < 0.3:
        return _affixed(parts, one, chance)
    return _style(parts, chance)


def _shorten(parts: list[str], chance: random.Random) -> list[str]:
    """One abbreviation put in or read out."""
    text = f" {' '.join(parts)} "
    pairs = list(_ABBREVIATIONS)
    pairs += [(short, long) for long, short in _ABBREVIATIONS if short not in _ONE_WAY]
    found = [(old, new) for old, new in pairs if f" {old} " in text]
    if not found:
        return parts
    old, new = chance.choice(found)
    return text.replace(f" {old} ", f" {new} ", 1).split()


def _plural(word: str) -> str:
    return f"{word}es" if word.endswith(("s", "x", "ch")) else f"{word}s"


def _style(parts: list[str], chance: random.Random) -> str:
    snake = "_".join(parts)
    camel = parts[0] + "".join(word.capitalize() for word in parts[1:])
    styles = (
        snake,
        snake.upper(),
        "-".join(parts),
        "-".join(parts).upper(),
        camel,
        "".join(word.capitalize() for word in parts),
        " ".join(word.capitalize() for word in parts),
        " ".join(parts),
        " ".join(parts).capitalize(),
        ".".join(parts),
        "".join(parts).upper() if len(parts) < 3 else snake,
    )
    return chance.choice(styles)


def _affixed(parts: list[str], one: Example, chance: random.Random) -> str:
    """With a prefix, an ending, or a numbered code before the name."""
    category = one.category
    if category == "pii" and one.answers[0].startswith("PII.") and chance.random() < 0.3:
        return f"{chance.choice('BI')}-{'_'.join(parts).upper()}"
    family = chance.choice(_FAMILIES.get(category, _ANY_FAMILY)).split()
    way = chance.randrange(4)
    if way == 0:
        return f"{chance.choice(_CODES)}{chance.randint(1, 24)}: {_style(parts, chance)}"
    if way == 1:
        return f"{'_'.join(family)}{chance.choice((':', '/', '.', '::'))}{'_'.join(parts)}"
    if way == 2 and category in _SCORED and parts[-1] != "score":
        return _style([*parts, "score"], chance)
    return _style([*family, *parts], chance)

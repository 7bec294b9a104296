"""Recognisable raw texts, every form in which a store may hold them, and the search for them."""

import base64
import html
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

# Each is raw text that nobody may keep: (what is sent, parts by which it would be known again).
CANARIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "sentence": (
        "I told the nurse that my quoxilated knee hurts, and she wrote it down.",
        ("quoxilated",),
    ),
    "name-in-prose": (
        "The patient is Zebulon Quuxbury, and he was discharged on Friday.",
        ("Zebulon Quuxbury", "Quuxbury"),
    ),
    "email": ("zebulon.vexbright@quux-clinic.example.org", ("vexbright", "quux-clinic")),
    "ssn": ("548-61-7093", ("548617093",)),
    "card": ("4539 1488 0343 6467", ("4539148803436467", "4539-1488-0343-6467")),
    "api-key": ("sk-proj-Qx7Zt2Vb9Lm4Kp8Wn3Rd6Hs1", ("Qx7Zt2Vb9Lm4Kp8Wn3Rd6Hs1",)),
    "jwt": (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ6ZWJ1bG9uLXF1dXgifQ.Zq0vX3kLw8JtYb5RnCmH2dPf7sAe",
        ("eyJzdWIiOiJ6ZWJ1bG9uLXF1dXgifQ", "Zq0vX3kLw8JtYb5RnCmH2dPf7sAe"),
    ),
    "phone": ("+44 7911 842673", ("447911842673",)),
    "iban": ("GB82WEST12345698765432", ("WEST12345698765432",)),
    "unicode": ("Пациент Зебулон Куксбери жалуется на боль в колене. 🦓", ("Куксбери",)),
    "cjk": ("患者の是武論さんは、膝が痛いと言っています。", ("是武論",)),
    "address": ("postgres://zebulon:Hunter2Quux@db.quux.example/p", ("Hunter2Quux",)),
    "multi-line": ("Dear doctor,\n\tmy wobblefrotz is \"itchy\" & <b>red</b>.", ("wobblefrotz",)),
}  # fmt: skip
TEXTS = {name: text for name, (text, _parts) in CANARIES.items()}


def forms(text: str) -> set[bytes]:
    """The text in lower case as files, dumps, queues and logs may hold it."""
    raw = text.encode("utf-8")
    escaped = json.dumps(text)[1:-1]
    found = {
        raw,
        escaped.encode(),
        json.dumps(escaped)[1:-1].encode(),  # JSON within JSON
        json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        repr(text)[1:-1].encode(),
        repr(raw)[2:-1].encode(),
        text.encode("unicode_escape"),
        html.escape(text).encode(),
        quote(text, safe="").encode(),
        quote(text).encode(),
        quote_plus(text).encode(),
        quote(quote(text, safe=""), safe="").encode(),
        raw.hex().encode(),  # bytea in a dump
        raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\t", b"\\t"),  # COPY
        *_base64(raw),
        *_base64(escaped.encode()),
    }
    return {form.lower() for form in found if len(form) >= 8}


def _base64(raw: bytes) -> Iterator[bytes]:
    """What the text looks like somewhere inside a longer base64 text, at each of three offsets."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        core = encoded[(0, 2, 3)[offset] : len(encoded) // 4 * 4 - 4]
        yield core
        yield core.replace(b"+", b"-").replace(b"/", b"_")


def _shortest(found: set[bytes]) -> set[bytes]:
    """Without those that hold another one: where they stand, the other one is found."""
    return {one for one in found if not any(other in one for other in found - {one})}


@dataclass(frozen=True)
class Sighting:
    """A canary where none may be."""

    canary: str
    place: str
    around: str


class Search:
    """Finds canaries in bytes, whatever the case of letters."""

    def __init__(self, canaries: dict[str, tuple[str, tuple[str, ...]]]) -> None:
        self._needles = sorted(
            (form, name)
            for name, (text, parts) in canaries.items()
            for form in _shortest(
                {form for part in (text, *parts) for form in forms(part) | forms(part.lower())}
            )
        )
        self.searched = 0

    def look(self, place: str, content: bytes) -> Iterator[Sighting]:
        """Sightings in the content of a place: one for each form."""
        content = content.lower()
        self.searched += len(content)
        for needle, name in self._needles:
            at = content.find(needle)
            if at >= 0:
                around = content[max(0, at - 100) : at + len(needle) + 60]
                yield Sighting(name, place, repr(around))

    def look_into_files(self, files: Iterable[Path]) -> Iterator[Sighting]:
        """Sightings in files, in their names too."""
        for file in files:
            yield from self.look(f"name of {file}", str(file).encode("utf-8", "surrogateescape"))
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                # A running PostgreSQL removes its copy of the catalogue's cache and writes it anew.
                if not file.name.startswith("pg_internal.init"):
                    raise
                continue
            yield from self.look(str(file), content)

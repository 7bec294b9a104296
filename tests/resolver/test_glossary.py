"""Likeness to the glossary: the same numbers as a plain search, and the file that ships."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping.resolver.artifacts import SHIPPED
from mapping.resolver.glossary import FILE, Entry, Glossary, GlossaryError, packed, save
from mapping.resolver.lexical import LexicalIndex, bag
from training.datasets.sources import encoder_dataset, read_knowledge
from training.datasets.written import pack

KNOWLEDGE = Path(__file__).parents[2] / "pillars-detectors"
ENTRIES = [
    Entry("Work Mail Address", "A mailbox of an employee.", ("PII.Contact.Email",)),
    Entry("homePhone", "Number of a private line, with an area code", ("PII.Contact.Phone",)),
    Entry("mail-or-phone", "", ("PII.Contact.Email", "PII.Contact.Phone")),
    Entry("R-204", "", ("PII.Other",)),
    Entry("…", "", ("PII.Other",)),  # nothing of it is a word
    Entry("all clear", "Nothing was found, nothing at all.", ("not_a_finding",)),
]  # fmt: skip
ASKED = [
    ("mail", ""),
    ("Home Mail", "mailbox of a private person"),
    ("r204 code", ""),
    ("nothing", "nothing clear"),
    ("private private private", "an area code"),
]


@pytest.fixture
def small(taxonomy: dict[str, Any], tmp_path: Path) -> Glossary:
    save(tmp_path, packed(ENTRIES, LexicalIndex(taxonomy).rarity))
    return Glossary.load(tmp_path)


def test_it_is_the_highest_cosine_of_each_answer(small: Glossary, taxonomy: dict[str, Any]) -> None:
    index = LexicalIndex(taxonomy)
    for entry in ENTRIES:
        index.add(bag((entry.label,), entry.description))
    assert small.names == ("PII.Contact.Email", "PII.Contact.Phone", "PII.Other", "not_a_finding")
    some = 0
    for label, description in ASKED:
        cosines = index.cosines(label, description)
        wanted = [
            max(cosine for cosine, entry in zip(cosines, ENTRIES, strict=True)
                if name in entry.answers)
            for name in small.names
        ]  # fmt: skip
        assert small.likeness(label, description) == pytest.approx(wanted, abs=1e-6), label
        some += sum(0 < one < 1 for one in wanted)
    assert some > len(ASKED)


@pytest.mark.parametrize("label", ["", " ", "…", "日本語", "zzqx"])
def test_what_nobody_wrote_is_like_nothing(small: Glossary, label: str) -> None:
    assert not small.likeness(label, "").any()


def test_the_same_entry_in_other_spelling_is_like_itself(small: Glossary) -> None:
    found = dict(zip(small.names, small.likeness("work_mail_address", "a mailbox of an employee"),
                     strict=True))  # fmt: skip
    assert found["PII.Contact.Email"] == pytest.approx(1)


def test_the_same_entries_give_the_same_file(
    small: Glossary, taxonomy: dict[str, Any], tmp_path: Path
) -> None:
    save(tmp_path, packed(reversed(ENTRIES), LexicalIndex(taxonomy).rarity))
    assert Glossary.load(tmp_path).digest == small.digest


def test_the_shipped_file_holds_the_glossary() -> None:
    """Made anew by `python -m training.encoder glossary`; the calibrators must be fitted then."""
    knowledge = read_knowledge(KNOWLEDGE, "2026.11")
    made = pack(encoder_dataset(knowledge).written, knowledge.taxonomy)
    with np.load(SHIPPED / FILE) as shipped:
        assert set(shipped.files) == set(made)
        for name, array in made.items():
            assert np.array_equal(shipped[name], array), name


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", "other"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    if isinstance(content, bytes):
        (tmp_path / FILE).write_bytes(content)
    elif content:
        np.savez(tmp_path / FILE, names=np.array([content]))
    with pytest.raises(GlossaryError, match=r"python -m training\.encoder glossary"):
        Glossary.load(tmp_path)

"""What the encoder reads, and the lexical likeness beside it."""

import math
from typing import Any

import numpy as np
import pytest

from mapping.resolver.artifacts import Artifacts
from mapping.resolver.encoder import MAX_TOKENS
from mapping.resolver.lexical import LexicalIndex, bag
from mapping.resolver.texts import candidates, label_text, query_text, spoken
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion


@pytest.fixture(scope="module")
def index(taxonomy: dict[str, Any]) -> LexicalIndex:
    """Of the taxonomy's own texts, by its names' order."""
    found = LexicalIndex(taxonomy)
    for words in found.labels.values():
        found.add(words)
    return found


class TestTexts:
    def test_every_answer_has_one_text(self, taxonomy: dict[str, Any]) -> None:
        found = candidates(taxonomy)
        assert list(found) == sorted(found)
        assert len(set(found.values())) == len(found)
        left_out = {"OTHER.Safe", "OTHER.Unknown"}
        assert set(found) == {*taxonomy["labels"]} - left_out | {NOT_A_FINDING, NONE_OF_THESE}

    def test_a_label_is_told_by_name_meaning_and_aliases(self) -> None:
        entry = {"meaning": "A thing that is meant.", "aliases": [f"a{n}" for n in range(20)]}
        text = label_text("PII.Contact.EmailAddress", entry)
        assert text.startswith("pii contact email address. A thing that is meant. a0, a1")
        assert "a11" in text
        assert "a12" not in text
        assert label_text("PII.Other", {"meaning": "M."}) == "pii other. M."

    def test_a_question_is_told_by_label_description_and_kind(self) -> None:
        question = LabelQuestion("d", "US_SSN", " a \n number ", "pii-detection", "1.0")
        assert query_text(question) == "us ssn: a number (pii detection)"
        assert query_text(LabelQuestion("d", "US_SSN")) == "us ssn"
        long = query_text(LabelQuestion("d", "word " * 1_000, "text " * 1_000))
        assert len(long) <= 610

    @pytest.mark.parametrize(
        ("label", "words"),
        [
            ("promptInjection", "prompt injection"),
            ("hate/threatening", "hate threatening"),
            ("身份证号码", "身份证号码"),
            ("Straße  nummer", "Straße nummer"),
            ("...", "..."),
        ],
    )
    def test_words(self, label: str, words: str) -> None:
        assert spoken(label) == words

    def test_lone_surrogates_are_taken(self, artifacts: Artifacts) -> None:
        text = query_text(LabelQuestion("d", "a\ud800b", "c\udfffd"))
        assert text.encode()
        assert np.isfinite(artifacts.encoder.encode([text])).all()


class TestEncoder:
    def test_vectors_have_length_one_whatever_the_text(self, artifacts: Artifacts) -> None:
        texts = [
            "",
            " ",
            "credit card",
            "word " * 5_000,
            "\U0001f600" * 500,
            "\x00\n",
            "身份证号码",
        ]
        vectors = artifacts.encoder.encode(texts)
        assert vectors.shape == (len(texts), 384)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)

    def test_what_stands_beside_a_text_does_not_change_it(self, artifacts: Artifacts) -> None:
        alone = artifacts.encoder.encode(["a new text 1"])[0]
        among = artifacts.encoder.encode(["x", "a new text 1", "y " * 90])[1]
        assert (alone == among).all()

    def test_like_meanings_are_nearer(self, artifacts: Artifacts) -> None:
        card, same, other = artifacts.encoder.encode(
            ["credit card number", "payment card pan", "racial hatred"]
        )
        assert card @ same > card @ other + 0.2

    def test_texts_are_cut_at_the_most_tokens(self, artifacts: Artifacts) -> None:
        begin = "word " * (MAX_TOKENS + 10)
        both = artifacts.encoder.encode([begin + "one", begin + "two"])
        assert (both[0] == both[1]).all()


class TestLexical:
    def test_plurals_and_compounds_find_their_label(self, index: LexicalIndex) -> None:
        names = list(index.labels)
        for label in ("credit card", "CreditCards", "creditcard_number"):
            cosines = index.cosines(label, "")
            best = {names[int(n)] for n in np.argsort(-cosines)[:2]}
            assert "PII.Financial.CreditCard" in best, label

    def test_a_text_is_most_like_itself(self, taxonomy: dict[str, Any]) -> None:
        one = LexicalIndex(taxonomy)
        first, second = one.add(bag(["zebra"], "crossing")), one.add(bag(["ocean"], "liner"))
        cosines = one.cosines("zebra", "crossing")
        assert math.isclose(cosines[first], 1.0)
        assert cosines[second] < 0.1

    @pytest.mark.parametrize("label", ["", " ", "!!!", "\ud800", "x" * 50_000])
    def test_any_text_has_cosines(self, index: LexicalIndex, label: str) -> None:
        cosines = index.cosines(label, label)
        assert ((cosines >= 0) & (cosines <= 1)).all()

    def test_names_count_double(self) -> None:
        assert bag(["ab"], "") == {gram: 2 * n for gram, n in bag([], "ab").items()}

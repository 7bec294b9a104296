"""Features of answers: what held-out detectors must not tell, and what spellings vote for."""

from typing import Any

import numpy as np
import pytest

from mapping.resolver.artifacts import Artifacts
from mapping.resolver.resolver import shortlist
from mapping.resolver.retrieve import FEATURES, KnownLabel, Retriever, known_labels
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion
from taxonomy.agreement import of_entry

COSINE, EXAMPLE, LEXICAL, LEXICAL_EXAMPLE, NAMED, VOTES, WRITTEN = range(7)


def column(retriever: Retriever, question: LabelQuestion, feature: int, **more: Any) -> Any:
    return dict(zip(retriever.names, retriever.features(question, **more)[:, feature], strict=True))


def test_the_shape_is_answers_by_features(retriever: Retriever) -> None:
    found = retriever.features(LabelQuestion("d", "credit card"))
    assert found.shape == (len(retriever.names), len(FEATURES))
    assert np.isfinite(found).all()
    assert (found[:, LEXICAL:] >= 0).all()
    assert (found <= 1.001).all()
    fixed = {
        "no finding": [NOT_A_FINDING],
        "none of these": [NONE_OF_THESE],
        "an Other label": [name for name in retriever.names if name.endswith(".Other")],
    }
    for feature, names in fixed.items():
        rows = np.flatnonzero(found[:, FEATURES.index(feature)])
        assert [retriever.names[int(row)] for row in rows] == names


def test_names_and_aliases_are_told_in_any_spelling(retriever: Retriever) -> None:
    for label in ("PII.Contact.Email", "pii_contact_email", "Credit-Card"):
        votes = column(retriever, LabelQuestion("d", label), NAMED)
        assert sum(votes.values()) == 1, label


def test_files_vote_once_each_and_held_out_ones_not_at_all(
    taxonomy: dict[str, Any], artifacts: Artifacts
) -> None:
    email, phone = "PII.Contact.Email", "PII.Contact.Phone"
    known = [
        KnownLabel("a", "mystery", (), "", "", (email,)),
        KnownLabel("b", "MYSTERY", (), "", "", (email,)),
        KnownLabel("c", "other", ("mystery",), "", "", (phone,)),
    ]
    one = Retriever(taxonomy, known, artifacts.encoder, artifacts.glossary)
    question = LabelQuestion("d", "mystery")
    votes = column(one, question, VOTES)
    assert votes[email] == pytest.approx(2 / 3)
    assert votes[phone] == pytest.approx(1 / 3)
    votes = column(one, question, VOTES, held_out=frozenset("ab"))
    assert (votes[email], votes[phone]) == (0, 1)
    for feature in (EXAMPLE, LEXICAL_EXAMPLE):
        assert column(one, question, feature)[email] > 0.9
        assert column(one, question, feature, held_out=frozenset("ab"))[email] == 0


def test_holding_out_is_as_if_the_file_did_not_exist(
    taxonomy: dict[str, Any], known: list[KnownLabel], retriever: Retriever, artifacts: Artifacts
) -> None:
    held_out = frozenset(("presidio", "openai-moderation"))
    without = Retriever(
        taxonomy,
        [one for one in known if one.detector not in held_out],
        artifacts.encoder,
        artifacts.glossary,
    )
    for label in ("US_SSN", "hate/threatening", "self-harm"):
        question = LabelQuestion("presidio", label, "", "pii")
        assert np.allclose(
            retriever.features(question, held_out), without.features(question), atol=1e-5
        ), label


def test_without_an_encoder_its_features_are_nothing(
    taxonomy: dict[str, Any], known: list[KnownLabel]
) -> None:
    found = Retriever(taxonomy, known[:50], None, None).features(LabelQuestion("d", "email"))
    assert not found[:, :2].any()
    assert found[:, LEXICAL].any()


def test_the_shortlist_is_short_and_has_the_likely(retriever: Retriever) -> None:
    found = shortlist(retriever.names, retriever.features(LabelQuestion("d", "credit card no")))
    assert len(found) == len(set(found)) == 8
    assert "PII.Financial.CreditCard" in found[:2]


def test_known_labels_have_one_answer_for_safe(known: list[KnownLabel]) -> None:
    answers = {name for one in known for name in one.answers}
    assert answers >= {NOT_A_FINDING, NONE_OF_THESE, "PII.Contact.Email"}
    assert answers.isdisjoint(("OTHER.Safe", "OTHER.Unknown", "unmapped"))
    file = {"detector": "d", "category": "k", "labels": {"X": {"canonical": "OTHER.Safe"}}}
    assert known_labels([file], of_entry) == [KnownLabel("d", "X", (), "", "k", (NOT_A_FINDING,))]


def test_the_glossary_speaks_for_its_answers(
    taxonomy: dict[str, Any], artifacts: Artifacts
) -> None:
    question = LabelQuestion("d", "steuernummer", "Tax number that an office gives to a person")
    with_it = Retriever(taxonomy, (), None, artifacts.glossary)
    found = column(with_it, question, WRITTEN)
    assert max(found, key=lambda name: found[name]) == "PII.Identifier.TaxID"
    assert not any(column(Retriever(taxonomy, (), None, None), question, WRITTEN).values())


def test_answers_that_an_edition_lacks_are_left_out(artifacts: Artifacts) -> None:
    few = {"labels": {"PII.Contact.Email": {"aliases": ["mail"], "meaning": "An address."}}}
    one = Retriever(few, (), None, artifacts.glossary)
    found = column(one, LabelQuestion("d", "e-mail address of a customer"), WRITTEN)
    assert set(found) == {"PII.Contact.Email", NOT_A_FINDING, NONE_OF_THESE}
    assert found["PII.Contact.Email"] > 0.5

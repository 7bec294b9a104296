"""The external vocabularies: every label covered, every code real, every mistake refused."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from taxonomy.errors import KnowledgeFileError
from taxonomy.vocabularies import Match, NoMatch, Vocabulary, read_taxonomies, read_vocabularies

ROOT = Path(__file__).resolve().parents[2] / "pillars-detectors"
VOCABULARIES = {f"{one.vocabulary}@{one.edition}": one for one in read_vocabularies(ROOT)}
LABELS = list(read_taxonomies(ROOT)["2026.11"].data["labels"])
CONCEPTS = {
    "mlcommons-ailuminate@1.1": 12,
    "owasp-llm@2025": 10,
    "owasp-llm@2026": 10,
    "owasp-agentic@2026": 10,
    "mitre-atlas@2026.07": 115,
    "nist-ai-600-1@2024": 12,
}
SMALL = """\
vocabulary: small
edition: "1"
version: "2026.11.1"
taxonomy: "2026.11"
mapped: "2026-11-24"
name: "Small vocabulary"
publisher: "Nobody"
source: "https://example.org/"
prefix: SMALL
iri: "https://example.org/small/"
concepts:
  - {code: a, title: "Everything personal"}
mappings:
  - {label: PII, code: a, predicate: broad, why: "Personal data of one kind."}
no_match:
"""
REST = [
    f'  - {{label: {top}, why: "Nothing here is like it."}}'
    for top in dict.fromkeys(label.split(".")[0] for label in LABELS)
    if top != "PII"
]


def folder(target: Path, text: str) -> Path:
    """A knowledge folder whose only vocabulary is `text`."""
    for name in ("taxonomy", "frameworks", "schemas"):
        shutil.copytree(ROOT / name, target / name)
    (target / "vocabularies").mkdir()
    (target / "vocabularies" / "small.yaml").write_text(text, encoding="utf-8")
    return target


def refusal(target: Path, text: str) -> str:
    with pytest.raises(KnowledgeFileError) as caught:
        read_vocabularies(folder(target, text))
    return str(caught.value)


def complete() -> str:
    return SMALL + "\n".join(REST) + "\n"


def test_the_six_vocabularies_with_their_concepts() -> None:
    assert {name: len(one.titles) for name, one in VOCABULARIES.items()} == CONCEPTS


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=list(VOCABULARIES))
def test_every_label_is_covered_with_codes_that_exist(vocabulary: Vocabulary) -> None:
    for label in LABELS:
        rows = vocabulary.rows(label)
        assert rows, label
        for row in rows:
            assert isinstance(row, NoMatch) or row.code in vocabulary.titles, label
        if label.startswith("OTHER."):
            assert isinstance(rows[0], NoMatch), label


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=list(VOCABULARIES))
def test_exact_is_one_to_one(vocabulary: Vocabulary) -> None:
    exact = [row for row in vocabulary.mappings if row.predicate == "exact"]
    assert {row.label for row in exact} <= set(LABELS), "a branch is never a concept's equal"
    assert max(Counter(row.code for row in exact).values(), default=1) == 1
    for row in exact:
        assert len(vocabulary.rows(row.label)) == 1, row.label


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=list(VOCABULARIES))
def test_no_row_is_without_effect(vocabulary: Vocabulary) -> None:
    used = {row for label in LABELS for row in vocabulary.rows(label)}
    assert used == {*vocabulary.mappings, *vocabulary.no_match}


def test_the_nearest_branch_holds() -> None:
    vocabulary = VOCABULARIES["owasp-llm@2025"]
    (email,) = vocabulary.rows("PII.Contact.Email")
    assert isinstance(email, Match)
    assert (email.label, email.code, email.predicate) == ("PII", "LLM02:2025", "broad")
    (date,) = vocabulary.rows("PII.Temporal.Date")
    assert isinstance(date, NoMatch)
    with pytest.raises(KeyError):
        vocabulary.rows("NOTHING.Known")


def test_a_small_vocabulary_is_read(tmp_path: Path) -> None:
    (vocabulary,) = read_vocabularies(folder(tmp_path, complete()))
    assert vocabulary.titles == {"a": "Everything personal"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "label: PII, code: a",
            "label: PII.Contact.Fax, code: a",
            "vocabularies/small.yaml:14: mappings[0].label: PII.Contact.Fax is no label or branch "
            "of taxonomy 2026.11. Correct the name.",
        ),
        (
            "code: a, predicate",
            "code: b, predicate",
            "vocabularies/small.yaml:14: mappings[0].code: b is not in the concepts of this file. "
            "Correct the code.",
        ),
        (
            "label: PII, code: a",
            "label: PII.Contact, code: a",
            "vocabularies/small.yaml:13: mappings: PII.Person.Name is not covered. "
            "Add a mapping, or a row under no_match.",
        ),
        (
            "no_match:\n",
            'no_match:\n  - {label: PII, why: "Nothing here is like it."}\n',
            "vocabularies/small.yaml:16: no_match[0]: PII is mapped as well. "
            "Keep the mapping or this row.",
        ),
        (
            "no_match:\n",
            '  - {label: PII, code: a, predicate: close, why: "Said once more."}\nno_match:\n',
            "vocabularies/small.yaml:15: mappings[1]: PII a stands here twice. Remove one row.",
        ),
        (
            "no_match:\n",
            'no_match:\n  - {label: SECRET, why: "Nothing here is like it."}\n',
            "vocabularies/small.yaml:17: no_match[1]: SECRET stands here twice. Remove one row.",
        ),
        (
            "no_match:\n",
            '  - {label: OTHER.Safe, code: a, predicate: close, why: "Safe is safe."}\nno_match:\n',
            "vocabularies/small.yaml:15: mappings[1].label: OTHER.Safe has no category to match. "
            "Put it under no_match.",
        ),
        (
            'taxonomy: "2026.11"',
            'taxonomy: "2020.01"',
            "vocabularies/small.yaml:4: taxonomy: there is no edition 2020.01. Name one of ",
        ),
        (
            'concepts:\n  - {code: a, title: "Everything personal"}\n',
            "framework: owasp-llm@2024\n",
            "vocabularies/small.yaml:11: framework: there is no framework owasp-llm@2024. "
            "Name one of frameworks/.",
        ),
        (
            "predicate: broad",
            "predicate: wider",
            "vocabularies/small.yaml:14: mappings[0].predicate: 'wider' is not one of",
        ),
        (
            "mappings:\n",
            "mappings: [\n",
            "vocabularies/small.yaml:14: ",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = complete()
    assert text.count(old) == 1
    assert message in refusal(tmp_path, text.replace(old, new))


def test_a_prefix_belongs_to_one_vocabulary(tmp_path: Path) -> None:
    target = folder(tmp_path, complete())
    (target / "vocabularies" / "twin.yaml").write_text(complete(), encoding="utf-8")
    with pytest.raises(KnowledgeFileError) as caught:
        read_vocabularies(target)
    assert str(caught.value) == (
        "vocabularies/twin.yaml:9: prefix: SMALL is the prefix of vocabularies/small.yaml. "
        "Give another one."
    )


def test_a_folder_without_vocabularies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeFileError, match=r"holds no vocabulary\. Add vocabularies/"):
        read_vocabularies(tmp_path)

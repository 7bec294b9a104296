"""Data sets: what is in them, on which side, and that the same input gives the same bytes."""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from mapping.engine.propose import spelling
from mapping.resolver.artifacts import SHIPPED
from tests.training.small_set import recipe_of, small_knowledge, small_set
from training.datasets.build import Built, build
from training.datasets.instructions import Drawing
from training.datasets.patterns import PATTERNS, generate, iban, luhn, matching
from training.datasets.privacy import raw_looking
from training.datasets.rows import well_formed
from training.datasets.sides import SIDES
from training.datasets.sources import (
    Knowledge,
    SourceError,
    encoder_dataset,
    items,
    read_decisions,
    read_knowledge,
)
from training.datasets.spellings import Known, respell
from training.datasets.splits import SplitError, Splitting, divide
from training.datasets.synthetic import read_wording
from training.datasets.written import files, read, unseen
from training.encoder.build import build as encoder_build
from training.encoder.data import Dataset, Example


@pytest.fixture(scope="module")
def built() -> Built:
    return small_set()


@pytest.fixture(scope="module")
def knowledge_folder() -> Path:
    return small_knowledge()


@pytest.fixture(scope="module")
def known() -> Knowledge:
    return read_knowledge(small_knowledge(), "2026.11")


def rows_of(built: Built, side: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in built.files[f"{side}.jsonl"].splitlines()]


def test_a_set_has_every_kind_and_the_form_that_trainers_read(built: Built) -> None:
    rows = {side: rows_of(built, side) for side in SIDES}
    kinds = Counter(row["kind"] for row in rows["train"])
    assert kinds.keys() == {"detector", "golden", "alias", "synthetic", "glossary"}
    assert all(well_formed(row) for side in SIDES for row in rows[side])
    assert {row["kind"] for side in ("validation", "test") for row in rows[side]} == {"detector"}
    row = rows["train"][0]
    assert [part["role"] for part in row["prompt"]] == ["system", "user"]
    assert row["completion"][0]["content"] in row["letters"]
    assert not well_formed({**row, "letters": ["AB"]})
    assert not well_formed({**row, "more": 1})


def test_vendors_are_on_one_side_and_nothing_is_lost(built: Built, knowledge_folder: Path) -> None:
    sides: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    for side in SIDES:
        for row in rows_of(built, side):
            if row["kind"] == "detector":
                sides.setdefault(row["vendor"], set()).add(side)
                labels.setdefault(row["detector"], set()).add(row["source"])
    assert all(len(on) == 1 for on in sides.values())
    assert {next(iter(on)) for on in sides.values()} == set(SIDES)
    # Presidio and Azure are of one vendor.
    files = [yaml.safe_load(p.read_text()) for p in knowledge_folder.glob("detectors/*.yaml")]
    taxonomy = yaml.safe_load((knowledge_folder / "taxonomy/2026.11.yaml").read_text())
    for one in encoder_build(taxonomy, files).examples:
        assert one.label in labels[one.detector]


def test_codes_are_never_learnt_by_heart(built: Built) -> None:
    rows = rows_of(built, "train")
    codes = [row for row in rows if re.fullmatch(r"[SOCHKR]\d{1,2}", row["source"])]
    assert len(codes) > 20
    assert all(row["description"] for row in codes)
    # A short name is no code.
    assert any(row["kind"] == "alias" and row["source"] == "ip" for row in rows)


def test_invented_labels_are_balanced(built: Built) -> None:
    texts = json.loads(built.files["dataset.json"])["texts"]
    invented = [row for row in rows_of(built, "train") if row["kind"] == "synthetic"]
    counts = Counter(name for row in invented for name in row["answers"])
    assert counts == dict.fromkeys(texts, 2 * 2)  # labels x variations


def test_right_answers_are_mostly_offered_among_their_neighbours(built: Built) -> None:
    rows = [row for row in rows_of(built, "train") if row["kind"] == "detector"]
    offered = [set(row["answers"]) <= set(row["names"]) for row in rows]
    assert 0.8 < sum(offered) / len(rows) < 0.95
    alone = sum(not row["description"] for row in rows) / len(rows)
    assert 0.3 < alone < 0.5
    siblings = [
        any(
            name.rpartition(".")[0] == row["answers"][0].rpartition(".")[0]
            for name in row["names"]
            if name not in row["answers"]
        )
        for row in rows
        if row["answers"][0].startswith("PII.")
    ]
    assert sum(siblings) / len(siblings) > 0.8


def test_tested_is_what_the_service_would_ask(built: Built) -> None:
    rows = rows_of(built, "test")
    asked = Counter((row["detector"], row["label"]) for row in rows)
    assert set(asked.values()) == {2}
    for row in rows:
        assert row["label"] == row["source"]
        assert row["category"]
        assert bool(row["description"]) == (row["variation"] == 0)


def test_the_same_input_gives_the_same_bytes(built: Built, knowledge_folder: Path) -> None:
    """In a process whose hashes of texts differ."""
    code = (
        "import sys; from pathlib import Path; from training.datasets.build import *;"
        "from mapping.resolver.artifacts import SHIPPED;"
        "print(build(Recipe(Path(sys.argv[1]), '2026.11', synthetic=2, glossary=2,"
        "splitting=Splitting(0.2, 0.2), drawing=Drawing(variations=2),"
        "scores=SHIPPED / 'folds' / 'folds.npz')).manifest['digest'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(knowledge_folder)],
        env={"PYTHONPATH": "platform:.", "PYTHONHASHSEED": "7"},
        cwd=settings.REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == built.manifest["digest"]


def test_another_seed_varies_what_is_learnt_and_keeps_the_test(
    built: Built, knowledge_folder: Path
) -> None:
    other = build(recipe_of(knowledge_folder, seed=1, synthetic=0))
    assert other.files["train.jsonl"] != built.files["train.jsonl"]
    assert other.files["test.jsonl"] == built.files["test.jsonl"]


@pytest.mark.parametrize(
    ("splitting", "tested"),
    [
        (Splitting(0, hold_out=("presidio",)), {"microsoft"}),
        (Splitting(0, everything=True), set()),
        (Splitting(0, fold=(0, 1)), {"microsoft", "skyflow", "unitary", "meta", "lmsys"}),
    ],
)
def test_other_ways_to_split(known: Knowledge, splitting: Splitting, tested: set[str]) -> None:
    found = items(known, encoder_dataset(known))
    sides = divide(found, splitting)
    assert {vendor for vendor, side in sides.items() if side == "test"} >= tested
    assert set(sides.values()) <= ({"test"} if splitting.fold else {"train", "test"})
    parts = [divide(found, Splitting(0.2, fold=(part, 3))) for part in range(3)]
    for vendor in sides:
        assert [part[vendor] for part in parts].count("test") == 1


def test_splits_that_make_no_sense_are_refused(known: Knowledge) -> None:
    with pytest.raises(SplitError, match="one of"):
        Splitting(everything=True, fold=(0, 5))
    with pytest.raises(SplitError, match="K - 1"):
        Splitting(fold=(5, 5))
    with pytest.raises(SplitError, match="no such detector"):
        divide(items(known, encoder_dataset(known)), Splitting(hold_out=("nobody",)))


def test_decisions_are_learnt_from(
    known: Knowledge, knowledge_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "decisions.jsonl"
    decided: list[tuple[str, str, str | None]] = [
        ("presidio", "BR_CNPJ_NEW", "PII.Identifier.BusinessID"),
        ("presidio", "us-ssn", "PII.Temporal.Date"),  # the file says otherwise, and wins
        ("new-detector", "ok", None),
        ("new-detector", "contact", "PII.Contact.Email"),
        ("new-detector", "contact", "PII.Contact.Phone"),
    ]
    lines = [
        {"detector": detector, "version": None, "label": label, "canonical": canonical}
        for detector, label, canonical in decided
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    examples, left_out = read_decisions(path, known)
    assert left_out == 1
    assert {(one.label, one.answers) for one in examples} == {
        ("BR_CNPJ_NEW", ("PII.Identifier.BusinessID",)),
        ("ok", ("not_a_finding",)),
        ("contact", ("PII.Contact.Email", "PII.Contact.Phone")),
    }
    recipe = recipe_of(knowledge_folder, synthetic=0, splitting=Splitting(0, 0), scores=None)
    made = build(replace(recipe, decisions=path, drawing=Drawing(variations=1)))
    assert made.manifest["counts"]["kinds"]["train"]["decision"] == 3
    kept = json.loads(made.files["dataset.json"])["examples"]
    assert sum(one["detector"] == "new-detector" for one in kept) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "no decision"),
        ('{"detector": "d", "version": null, "label": "x"}', "no decision"),
        (
            '{"detector": "d", "version": null, "label": "jane.doe@corp.test", "canonical": null}',
            "may not be recorded",
        ),
        (
            '{"detector": "d", "version": null, "label": "x", "canonical": "PII.Nothing"}',
            "not in edition",
        ),
    ],
)
def test_decisions_that_cannot_be_used(
    known: Knowledge, tmp_path: Path, line: str, problem: str
) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(line)
    with pytest.raises(SourceError, match=problem) as caught:
        read_decisions(path, known)
    assert "jane" not in str(caught.value)


def test_the_encoders_data_is_what_the_shipped_encoder_was_made_of() -> None:
    known = read_knowledge(settings.KNOWLEDGE_DIR, "2026.11")
    digest = encoder_dataset(known).digest
    assert f"`{digest}`" in (SHIPPED / "README.md").read_text()


def test_the_glossary_says_nothing_that_a_detector_file_says() -> None:
    known = read_knowledge(settings.KNOWLEDGE_DIR, "2026.11")
    dataset = encoder_dataset(known)
    assert 0 < len(dataset.written) <= len(known.glossary)
    taken = {spelling(one.label) for one in dataset.examples} - {""}
    named = {spelling(one.label) for one in dataset.aliases}
    assert not [one.label for one in dataset.written if spelling(one.label) in taken - named]
    stolen = dataset.examples[0]._replace(detector="glossary-x", vendor="glossary")
    assert not unseen([stolen], dataset.examples, dataset.aliases)
    own = stolen._replace(label="a label that no file has", description="Nor this sentence.")
    assert unseen([own], dataset.examples, dataset.aliases) == [own]


def test_the_glossary_has_something_for_every_answer_and_names_no_other() -> None:
    known = read_knowledge(settings.KNOWLEDGE_DIR, "2026.11")
    dataset = encoder_dataset(known)
    found = Counter(name for one in dataset.written for name in one.answers)
    assert found.keys() == dataset.texts.keys()
    assert min(found.values()) >= 15
    entries = [entry for path in files() for entry in yaml.safe_load(path.read_text()).values()]
    assert len(known.glossary) == sum(map(len, entries))


def test_a_glossary_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("PII.Person.Name: [[only a label]]\n")
    with pytest.raises(ValueError, match=r"x\.yaml: PII\.Person\.Name"):
        read({"labels": {"PII.Person.Name": {}}}, tmp_path)
    (tmp_path / "x.yaml").write_text("PII.Gone: [[a, b]]\nnone: [[c, d, [PII.Here]], [e, f]]\n")
    found = read({"labels": {"PII.Here": {}}}, tmp_path)
    assert [(one.label, one.answers) for one in found] == [
        ("c", ("none_of_these", "PII.Here")),
        ("e", ("none_of_these",)),
    ]


SSN = Example("a", "", "pii", "US_SSN", (), "", ("PII.Identifier.SSN",))
SAFE = Example("b", "", "content-safety", "safe", (), "", ("not_a_finding",))
CODE = Example("c", "", "content-safety", "S9", (), "", ("HARM.WEAPONS.CBRN",))


def test_spellings_differ_and_mean_the_same() -> None:
    other = Example("b", "", "pii", "ssn", (), "", ("PII.Other",))
    known = Known.of(Dataset([SSN, SAFE, CODE], [], {}))
    chance = random.Random(0)
    found = {respell("US_SSN", SSN, known, chance) for _ in range(300)}
    assert {"us-ssn", "UsSsn", "Us Ssn", "us ssn"} <= found
    assert any(one.startswith(("B-", "I-")) for one in found)
    assert any(re.match(r"[A-Z-]+\d+: ", one) for one in found)
    assert "Us Social Security Number" in found
    # What is known for something else is never drawn.
    guarded = Known.of(Dataset([SSN, SAFE, other], [], {}))
    drawn = {respell("social_security_number", SSN, guarded, chance) for _ in range(300)}
    assert not {one.casefold() for one in drawn} & {"ssn"}
    # No affix makes a finding of an outcome; codes change their case alone.
    assert {respell("safe", SAFE, known, chance).casefold() for _ in range(50)} == {"safe"}
    assert {respell("S9", CODE, known, chance).casefold() for _ in range(50)} == {"s9"}


@pytest.mark.parametrize("label", PATTERNS)
def test_texts_match_their_pattern_and_belong_to_nobody(label: str) -> None:
    chance = random.Random(label)
    for pattern in PATTERNS[label]:
        for _ in range(20):
            text = matching(pattern, chance)
            assert re.fullmatch(pattern.regex, text)
            assert not list(raw_looking(text))
            assert pattern.check != "luhn" or luhn(text)
            assert pattern.check != "iban" or iban(text)


def test_what_the_dialect_does_not_have_is_refused() -> None:
    for regex in ("a*", "(a", "a)b", "^a"):
        with pytest.raises(ValueError, match=r"dialect|closed"):
            generate(regex, random.Random(0))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jane.doe@corp.test", ["e-mail address"]),
        ("pay with 4012 8888 8888 1881", ["card number"]),
        ("number 078-05-1120", ["Social Security number"]),
        ("call 415-867-5309", ["telephone number"]),
        ("from 93.184.216.34", ["IP address"]),
        ("DE89370400440532013000", ["IBAN"]),
        ("ghp_a1b2c3d4e5f6a7b8c9d0e1", ["key or token"]),
        ("postgres://admin:hunter2@db", ["password"]),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75", ["private key"]),
        ("version 1.2.3.4 of hf_classifier_check_output", []),
        ("jane.doe@example.com, 000-12-3456, 192.0.2.7", []),
    ],
)
def test_what_looks_like_somebodys_data(text: str, kinds: list[str]) -> None:
    assert list(raw_looking(text)) == kinds


def test_our_wording_has_every_answer_and_names_nothing_twice(built: Built) -> None:
    wording = read_wording()
    assert wording.answers.keys() == json.loads(built.files["dataset.json"])["texts"].keys()
    names = Counter(name for entry in wording.answers.values() for name in entry["names"])
    assert [name for name, count in names.items() if count > 1] == []

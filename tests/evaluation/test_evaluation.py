"""Cases, strata, predictors, and the page that shows their figures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from mapping.evaluation.cases import CaseFileError, leave_one_out, read_cases
from mapping.evaluation.folds import Folds, FoldsError
from mapping.evaluation.model_page import PROTOCOLS as MODEL_PROTOCOLS
from mapping.evaluation.model_page import section as model_section
from mapping.evaluation.models import Unseen
from mapping.evaluation.page import PROTOCOLS, section
from mapping.evaluation.predictors import Known, source_labels
from mapping.evaluation.report import answer_of
from mapping.evaluation.run import BASELINES, LEARNING, HoldOut, evaluate
from mapping.evaluation.strata import stratum
from mapping.resolver.artifacts import SHIPPED
from mapping.resolver.glossary import Glossary
from taxonomy.documents import read_documents
from taxonomy.validation import newest_taxonomy


@pytest.fixture(scope="module")
def known() -> Known:
    documents = read_documents(settings.KNOWLEDGE_DIR)
    files = {one.data["detector"]: one.data for one in documents if one.kind == "detector"}
    return Known(newest_taxonomy(documents).data, files)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol[0])
def test_the_page_says_what_the_files_give(
    known: Known, protocol: tuple[str, HoldOut, bool]
) -> None:
    page = (Path(settings.REPOSITORY) / "docs" / "quality.md").read_text(encoding="utf-8")
    predictors = {name: build(known) for name, build in BASELINES.items()}
    found = section(known, predictors, *protocol)
    assert found in page, "Run manage.py evaluate_mapping --markdown and put it into the page"


@pytest.fixture(scope="module")
def unseen(known: Known) -> Unseen:
    return Unseen(known, Folds.load(SHIPPED / "folds" / "folds.npz"), Glossary.load(SHIPPED))


def test_every_label_is_a_case_but_for_other_spellings(known: Known) -> None:
    cases = leave_one_out(known.detectors.values())
    labels = sum(len(file["labels"]) for file in known.detectors.values())
    assert 0.99 * labels < len(cases) < labels
    assert len({case.question.id for case in cases}) == len(cases)
    file = {
        "detector": "d",
        "labels": {
            "hate/threat": {"canonical": "A.B"},
            "hate_threat": {"canonical": "A.B", "meaning": "described"},
            "HateThreat": {"not_a_finding": "reason"},
        },
    }
    spelt = [(case.question.output, case.expected) for case in leave_one_out([file])]
    assert spelt == [("hate_threat", ("A.B",)), ("HateThreat", ("not_a_finding",))]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("left_out", ["openai-moderation-legacy", "presidio", "snyk-agent-scan"])
def test_nothing_of_a_held_out_file_shows(known: Known, name: str, left_out: str) -> None:
    """Held out, a file answers as if it had never been there."""
    without = {one: file for one, file in known.detectors.items() if one != left_out}
    cases = leave_one_out([known.detectors[left_out]])
    hidden = evaluate(BASELINES[name](known), cases, known, "detector")
    absent = replace(known, detectors=without)
    never = evaluate(BASELINES[name](absent), cases, absent, "none")
    assert [replace(one, latency_ms=0) for one in hidden] == [
        replace(one, latency_ms=0) for one in never
    ]


@pytest.mark.parametrize("name", sorted(LEARNING))
def test_other_files_do_show(known: Known, name: str) -> None:
    """The test above could not fail if predictors learned nothing."""
    cases = leave_one_out([known.detectors["openai-moderation-legacy"]])
    seen = evaluate(BASELINES[name](known), cases, known, "none")
    hidden = evaluate(BASELINES[name](known), cases, known, "vendor")
    assert [one.top5 for one in seen] != [one.top5 for one in hidden]


def test_rules_use_the_file_of_a_detector_that_is_not_held_out(known: Known) -> None:
    cases = leave_one_out([known.detectors["llama-guard-3"]])
    rules = BASELINES["rules"](known)
    right = {
        hold_out: sum(
            answer_of(made)[0] in case.right
            for case, made in zip(cases, evaluate(rules, cases, known, hold_out), strict=True)
        )
        for hold_out in ("none", "detector")
    }
    assert right["none"] == len(cases)
    assert right["detector"] < len(cases) / 2


@pytest.mark.parametrize(
    ("label", "expected", "found"),
    [
        ("EMAIL", ["PII.Contact.Email"], "name-equal"),
        ("mac-address", ["PII.Device.MACAddress"], "name-equal"),
        ("E-mail of a user", ["PII.Contact.Email"], "synonym"),
        ("S2", ["HARM.CRIME.Other"], "opaque code"),
        ("AML.T0051.000", ["PROMPT_INJECTION.Direct"], "opaque code"),
        ("LABEL_0", ["PROMPT_INJECTION.Direct"], "opaque code"),
        ("LABEL_0", ["OTHER.Safe"], "no finding"),
        ("O", ["not_a_finding"], "no finding"),
        ("violence, graphic", ["HARM.VIOLENCE.Graphic"], "composite"),
        ("Suicide and Self Harm", ["HARM.SELF_HARM.General"], "composite"),
        ("brand", ["HARM.CRIME.Fraud", "IP.Trademark"], "composite"),
        ({"any": 1}, ["IP.Trademark"], "synonym"),
    ],
)
def test_strata(label: Any, expected: list[str], found: str) -> None:
    assert stratum(label, expected) == found


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        ("Hate, harassment", ["Hate, harassment"]),
        ("[GEval]", ["GEval"]),
        ('[{"label": "TOXIC", "score": 0.9}]', ["TOXIC"]),
        ({"toxic": 0.9, "insult": 0.1}, ["toxic"]),
        (["EMAIL", "PHONE"], ["EMAIL", "PHONE"]),
    ],
)
def test_labels_are_read_from_outputs(output: Any, labels: list[str]) -> None:
    assert source_labels(output) == labels


GOOD = {"id": "1", "detector": "new", "output": "e-mail address", "expected": ["PII.Contact.Email"]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"expected": ["PII.Nothing"]}, "'PII.Nothing' is not in the taxonomy"),
        ({"expected": []}, "names no label"),
        ({"accept": "PII.Contact.Email"}, "must be a list"),
        ({"multi": True}, "contradicts"),
        ({"output": 7}, "`output` is needed"),
        ({"detector": ""}, "`detector` must be text"),
        ({"expects": []}, "unknown member 'expects'"),
        ({}, "stands on cases.jsonl:1 too"),
    ],
)
def test_a_case_at_fault_is_named(
    known: Known, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD | change)}\n", encoding="utf-8")
    with pytest.raises(CaseFileError, match=r"^cases\.jsonl:3: ") as found:
        read_cases(path, known.taxonomy["labels"])
    assert problem in str(found.value)


def test_the_command_measures_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, figures, made = (tmp_path / name for name in ("cases.jsonl", "out.json", "made.jsonl"))
    miss = {**GOOD, "id": "2", "output": "zzzz", "expected": ["IP.Trademark"]}
    void = {**GOOD, "id": "3", "output": "qqqq", "expected": ["unmapped"]}
    path.write_text("\n".join(map(json.dumps, (GOOD, miss, void))), encoding="utf-8")
    call_command("evaluate_mapping", str(path), json=figures, predictions=made)
    overall = json.loads(figures.read_text())["overall"]
    assert overall["accepted"] == pytest.approx(2 / 3)  # to abstain from `unmapped` is right
    assert overall["coverage"] == pytest.approx(1 / 3)
    first = json.loads(made.read_text().splitlines()[0])
    assert first.pop("latency_ms") >= 0
    assert first == {
        "id": "1", "labels": ["PII.Contact.Email"], "confidence": 1.0, "method": "name",
        "top5": [["PII.Contact.Email", 1.0]], "parent": "PII.Contact", "abstained": False,
    }  # fmt: skip
    assert "3 cases" in capsys.readouterr().out


def test_hybrid_without_a_server_is_refused_for_a_file(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text(
        json.dumps({"id": "1", "detector": "d", "output": "x", "expected": ["PII.Contact.Email"]})
    )
    with pytest.raises(CommandError, match=r"needs a model's server: set `inference\.backend`"):
        call_command("evaluate_mapping", str(cases), mode="hybrid")


def test_models_that_know_a_case_cannot_be_measured_on_it() -> None:
    with pytest.raises(CommandError, match="has learnt these labels: hold out"):
        call_command("evaluate_mapping", "--leave-one-out", mode="retrieval", hold_out="none")


@pytest.mark.parametrize("protocol", MODEL_PROTOCOLS, ids=lambda protocol: protocol[0])
def test_the_page_says_what_the_models_give(
    unseen: Unseen, protocol: tuple[str, HoldOut, bool]
) -> None:
    page = (Path(settings.REPOSITORY) / "docs" / "quality.md").read_text(encoding="utf-8")
    found = model_section(unseen, SHIPPED, *protocol)
    assert found in page, "Run manage.py evaluate_mapping --markdown models and put it in"


def test_other_labels_than_those_scored_are_refused(known: Known) -> None:
    labels = {**known.taxonomy["labels"]}
    labels.pop("PII.Contact.Email")
    other = Known({**known.taxonomy, "labels": labels}, known.detectors)
    with pytest.raises(FoldsError, match="other labels than the models were scored on"):
        Unseen(other, Folds.load(SHIPPED / "folds" / "folds.npz"), Glossary.load(SHIPPED))

"""Judging a model on detectors that it never saw."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.folds import Folds
from mapping.evaluation.predictors import Known
from mapping.resolver.artifacts import SHIPPED, Artifacts
from mapping.resolver.prompt import build_prompt, options_for, prompt_version
from mapping.resolver.types import Choice, LabelQuestion, ModelIdentity, Option
from training.datasets.store import Stored
from training.encoder.build import answers_of as answers_of_case
from training.held_out.judge import FitError
from training.held_out.questions import HeldOutError, held_out, sides_apart
from training.held_out.run import judge
from training.held_out.through_map import schema_valid, spread, without_detectors

FOLDER = Path(__file__).resolve().parents[2] / "pillars-detectors"
IDENTITY = ModelIdentity("embedded", "raw", "base", "b", "mapper-lora-9.9.9", "a", prompt_version())
# Seven vendors to fit on, four to judge on: small files, to be quick.
VALIDATION = ("detoxify", "rebuff", "piiranha", "spacy-ner-en", "vigil-llm", "trufflehog", "ragas")
# With one on which retrieval alone is often wrong: else a model that knows could win nothing.
TEST = ("presidio", "wildguard", "prompt-guard-2", "detect-secrets", "deepteam")
MOST = 8  # labels of a detector


class Knowing:
    """A chooser that knows the right answers of some share of the questions, by a fixed seed."""

    def __init__(self, answers: dict[LabelQuestion, frozenset[str]], share: float) -> None:
        self.identity: ModelIdentity | None = IDENTITY
        self._answers = answers
        self._share = share

    def choose(
        self, questions: Sequence[tuple[LabelQuestion, Sequence[Option]]], *, salt: str
    ) -> list[Choice]:
        found = []
        for question, options in questions:
            names = sorted(option.name for option in options)
            chance = random.Random(repr(question))
            right = [name for name in names if name in self._answers[question]]
            chosen = right[0] if right and chance.random() < self._share else chance.choice(names)
            rest = math.log(0.1 / (len(names) - 1))
            log_probs = {name: math.log(0.9) if name == chosen else rest for name in names}
            found.append(Choice(log_probs, 0.99))
        return found


@pytest.fixture(scope="module")
def known() -> Known:
    taxonomy = yaml.safe_load((FOLDER / "taxonomy" / "2026.11.yaml").read_text("utf-8"))
    names = sorted(path.stem for path in FOLDER.glob("detectors/*.yaml"))
    wanted = [name for name in names if name in (*VALIDATION, *TEST)] + names[:12]
    files = [
        yaml.safe_load((FOLDER / "detectors" / f"{name}.yaml").read_text("utf-8"))
        for name in dict.fromkeys(wanted)
    ]
    return Known(taxonomy, {file["detector"]: file for file in files})


@pytest.fixture(scope="module")
def folds() -> Folds:
    return Folds.load(SHIPPED / "folds" / "folds.npz")


@pytest.fixture(scope="module")
def artifacts() -> Artifacts:
    return Artifacts.load()


def rows(known: Known, folds: Folds, detectors: Sequence[str]) -> list[dict[str, Any]]:
    """As a data set holds them, described and alone."""
    found: list[dict[str, Any]] = []
    for name in detectors:
        file = known.detectors[name]
        for case in leave_one_out([file])[:MOST]:
            numbers = folds.of("shortlists", case.question)
            options = options_for([str(folds.names[int(n)]) for n in numbers], known.taxonomy)
            for description in dict.fromkeys((case.question.description, "")):
                question = LabelQuestion(
                    name, str(case.question.output), description, case.question.category or ""
                )
                prompt = build_prompt(question, options)
                found.append(
                    {
                        "id": f"{name}/{question.label}/{bool(description)}",
                        "detector": name, "vendor": str(file.get("vendor") or "").casefold(),
                        "category": question.category, "label": question.label,
                        "source": question.label, "description": description,
                        "answers": list(answers_of_case(case.expected)),
                        "names": list(prompt.names),
                        "prompt": [
                            {"role": "system", "content": prompt.system},
                            {"role": "user", "content": prompt.user},
                        ],
                    }
                )  # fmt: skip
    return found


def stored(folder: Path, validation: list[dict[str, Any]], test: list[dict[str, Any]]) -> Stored:
    sides = {"validation": validation, "test": test}
    for name, side in sides.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in side))
    splits = {name: {"file": f"{name}.jsonl"} for name in sides}
    return Stored(folder, {"digest": "d" * 64, "splits": splits})


def answers_of(known: Known, *sides: list[dict[str, Any]]) -> dict[LabelQuestion, frozenset[str]]:
    labels = known.taxonomy["labels"]
    return {one.question: one.right for side in sides for one in held_out(side, labels)}


def test_a_model_that_knows_much_is_worth_more_than_one_that_guesses(
    tmp_path: Path, known: Known, folds: Folds, artifacts: Artifacts
) -> None:
    validation, test = rows(known, folds, VALIDATION), rows(known, folds, TEST)
    data_set = stored(tmp_path, validation, test)
    answers = answers_of(known, validation, test)
    good, poor = (
        judge(data_set, Knowing(answers, share), artifacts, known, folds) for share in (0.95, 0.1)
    )
    for kind in ("described", "label_alone"):
        better, worse = good.evaluation[kind], poor.evaluation[kind]
        alone = good.evaluation["retrieval_alone"][kind]
        assert better["accepted"] > alone["accepted"] + 0.03
        assert better["accepted"] > worse["accepted"] + 0.03
        # A model that guesses is weighed lightly: it costs little beside retrieval alone.
        assert worse["accepted"] > alone["accepted"] - 0.1
        low, high = better["intervals"]["accepted_by_detector"]
        assert 0 <= low <= better["accepted_by_detector"] <= high <= 1
    assert set(good.evaluation["by_detector"]) == set(TEST)
    assert sum(one["rows"] for one in good.evaluation["by_detector"].values()) == len(test)
    assert sum(one["rows"] for one in good.evaluation["strata"].values()) == len(test)
    assert good.evaluation["seen_by_encoder"] == 0
    assert good.calibrator.identity == IDENTITY
    assert good.calibrator.encoder == artifacts.encoder_digest
    assert good.calibrator.version != poor.calibrator.version


def test_what_the_encoder_has_seen_is_counted(
    tmp_path: Path, known: Known, folds: Folds, artifacts: Artifacts
) -> None:
    validation, test = rows(known, folds, VALIDATION), rows(known, folds, TEST[:2])
    answers = answers_of(known, validation, test)
    found = judge(stored(tmp_path, validation, test), Knowing(answers, 0.9), artifacts, known, None)
    assert found.evaluation["seen_by_encoder"] == len(validation) + len(test)


def test_another_prompt_is_refused(known: Known, folds: Folds) -> None:
    (row, *_) = rows(known, folds, TEST[:1])
    row["prompt"][1]["content"] += " "
    with pytest.raises(HeldOutError, match="written for another prompt"):
        held_out([row], known.taxonomy["labels"])


def test_an_answer_that_no_edition_has_is_refused(
    tmp_path: Path, known: Known, folds: Folds, artifacts: Artifacts
) -> None:
    validation, test = rows(known, folds, VALIDATION), rows(known, folds, TEST)
    test[0]["answers"] = ["PII.Nonsense"]
    answers = answers_of(known, validation, test)
    with pytest.raises(HeldOutError, match="no label of edition"):
        judge(stored(tmp_path, validation, test), Knowing(answers, 1), artifacts, known, folds)


def test_a_vendor_on_two_sides_or_an_empty_side_is_refused(known: Known, folds: Folds) -> None:
    one = held_out(rows(known, folds, TEST[:2]), known.taxonomy["labels"])
    with pytest.raises(HeldOutError, match="are on two sides"):
        sides_apart(one, one[:1])
    with pytest.raises(HeldOutError, match="is empty"):
        sides_apart(one, [])


def test_too_few_vendors_are_refused(
    tmp_path: Path, known: Known, folds: Folds, artifacts: Artifacts
) -> None:
    validation, test = rows(known, folds, VALIDATION[:2]), rows(known, folds, TEST[:1])
    answers = answers_of(known, validation, test)
    with pytest.raises(FitError, match="Hold more detectors out"):
        judge(stored(tmp_path, validation, test), Knowing(answers, 1), artifacts, known, folds)


def test_answers_of_map_keep_to_the_schema(
    known: Known, folds: Folds, artifacts: Artifacts
) -> None:
    asked = held_out(rows(known, folds, TEST), known.taxonomy["labels"])
    answers = {one.question: one.right for one in asked}
    right = {
        LabelQuestion(one.detector, one.source, one.question.description): one.right
        for one in asked
    }
    chooser = Knowing(answers | right, 1.0)
    calibrator = next(one for one in artifacts.calibrators if one.identity is not None)
    chooser.identity = calibrator.identity
    assert schema_valid(asked, chooser, calibrator, artifacts, FOLDER) == 1.0
    documents = without_detectors(FOLDER, TEST)
    assert {file["detector"] for file in documents.detectors}.isdisjoint(TEST)
    assert len(documents.detectors) > 60
    few = spread(asked, 6)
    assert {one.detector for one in few} == set(TEST)

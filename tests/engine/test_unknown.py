"""What verdicts become in an answer. They are given here, as a model would give them."""

from typing import Any

import pytest

from mapping.engine import DetectorOutput, MappingResult
from mapping.engine.thresholds import Layer, Thresholds
from mapping.resolver.settle import Verdict
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion
from tests.engine.support import engine

SSN = "PII.Identifier.SSN"


def verdict(label: str, confidence: float, **more: Any) -> Verdict:
    branch = label.rpartition(".")[0] or label
    base = Verdict((label,), confidence, branch, 0.0, ((label, confidence),), (label,), "model")
    return base._replace(**more)


@pytest.fixture
def answer() -> Any:
    """answer(detector, labels, verdicts): of an output with these labels."""

    def ask(
        detector: str, labels: list[str], verdicts: dict[str, Verdict], **more: Any
    ) -> MappingResult:
        words = more.pop("words", None)

        def told(question: LabelQuestion) -> Verdict | None:
            return verdicts.get(question.label)

        output: Any = [{"entity_type": one, "score": 0.9, "start": 0, "end": 1} for one in labels]
        return engine().map(
            DetectorOutput(detector, output, label_descriptions=words),
            lambda _text: "0" * 32,
            ask=told,
            **more,
        )

    return ask


def test_nothing_found_beside_an_unknown_label_is_not_mapped(answer: Any) -> None:
    found = answer("presidio", ["ALL_GOOD", "ZZQ"], {"ALL_GOOD": verdict(NOT_A_FINDING, 0.8)})
    assert (found.decision, found.confidence, found.taxonomy) == (
        "fallback", 0.0, ("OTHER.Unknown",),
    )  # fmt: skip


def test_nothing_found_alone_is_safe_whatever_severity_was_stated(answer: Any) -> None:
    found = answer("presidio", ["ALL_GOOD"], {"ALL_GOOD": verdict(NOT_A_FINDING, 0.8)})
    assert (found.decision, found.severity, found.taxonomy) == ("safe", "none", ("OTHER.Safe",))
    assert [(one.method, one.by and one.by.method) for one in found.findings] == [
        ("model", "model")
    ]


def test_what_is_left_to_people_makes_no_answer_sure(answer: Any) -> None:
    high = Thresholds(Layer(0.6, branches={"PII": 0.9}))
    unsure = verdict("HARM.CRIME.Drugs", 0.55)
    found = answer("presidio", ["ZZQ"], {"ZZQ": unsure}, thresholds=high)
    assert (found.decision, found.taxonomy) == ("review", ("OTHER.NeedsReview",))
    both = {"ZZQ": unsure, "ZZR": verdict(SSN, 0.7)}
    found = answer("presidio", ["ZZQ", "ZZR"], both, thresholds=high)
    assert found.decision == "review"


def test_nor_does_it_lower_what_a_rule_is_sure_of(answer: Any) -> None:
    found = answer("presidio", ["US_SSN", "ZZQ"], {"ZZQ": verdict("HARM.CRIME.Drugs", 0.2)})
    assert (found.decision, found.confidence) == ("mapped", 1.0)
    assert SSN in found.taxonomy


def test_the_vendors_exact_words_go_before_the_models(answer: Any) -> None:
    found = answer(
        "presidio", ["ZZ1"], {"ZZ1": verdict(NONE_OF_THESE, 0.9)},
        words={"ZZ1": "Social Security Number"},
    )  # fmt: skip
    assert (found.taxonomy, found.confidence) == ((SSN,), 0.7)


def test_model_first_a_model_does_not_take_a_finding_back(answer: Any) -> None:
    safe = {"US_SSN": verdict(NOT_A_FINDING, 0.99)}
    found = answer("presidio", ["US_SSN"], safe, model_first=True)
    assert (found.decision, found.taxonomy) == ("mapped", (SSN,))


def test_who_answered_is_told_also_where_only_the_branch_is_sure(answer: Any) -> None:
    one = verdict(SSN, 0.3, branch_confidence=0.9, method="retrieval")
    found = answer("presidio", ["ZZQ"], {"ZZQ": one})
    assert [(f.canonical, f.method, f.by and f.by.method) for f in found.findings] == [
        ("PII.Identifier.Other", "parent", "retrieval")
    ]

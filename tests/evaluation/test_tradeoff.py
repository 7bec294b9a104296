"""Thresholds: bounds against exact sums, proposals against brute force, the command as a whole."""

import json
import math
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.evaluation.cases import Case, Question
from mapping.evaluation.predictors import Prediction
from mapping.evaluation.tradeoff import (
    ALPHA,
    SHOWN,
    Answered,
    TradeOff,
    cases_needed,
    groups_of,
    lower_bound,
    proposals,
    tail,
)
from pillars.config import load_config

ANSWERS = st.lists(
    st.builds(Answered, st.integers(0, 1_000).map(lambda n: n / 1_000), st.booleans()), max_size=120
)


def exact_tail(right: int, of: int, share: Fraction) -> Fraction:
    """By its definition, without rounding."""
    return sum(
        (math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(right, of + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize("of", [1, 2, 7, 30, 59, 200])
@pytest.mark.parametrize("share", [Fraction(1, 100), Fraction(1, 2), Fraction(19, 20)])
def test_the_tail_is_the_exact_sum(of: int, share: Fraction) -> None:
    for right in {1, (of + 1) // 2, max(1, of - 1), of}:
        found = tail(right, of, float(share))
        assert found == pytest.approx(float(exact_tail(right, of, share)), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("right", "of", "bound"),
    [
        # n-th root of 0.05 where all are right; the others: printed tables of the exact limits.
        (1, 1, 0.05), (10, 10, 0.05 ** (1 / 10)), (59, 59, 0.05 ** (1 / 59)), (0, 10, 0.0),
        (8, 10, 0.4931), (9, 10, 0.6058), (1, 10, 0.0051), (19, 20, 0.7839), (95, 100, 0.8977),
    ],
)  # fmt: skip
def test_lower_bounds_that_are_known(right: int, of: int, bound: float) -> None:
    assert lower_bound(right, of) == pytest.approx(bound, abs=6e-5)


@given(st.integers(1, 3_000).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
@settings(max_examples=60, deadline=None)
def test_at_the_bound_the_tail_is_five_per_cent(pair: tuple[int, int]) -> None:
    right, of = pair
    bound = lower_bound(right, of)
    assert 0 < bound < right / of or right == of
    assert tail(right, of, bound) == pytest.approx(ALPHA, rel=1e-6)


@pytest.mark.parametrize(("target", "needed"), [(0.95, 59), (0.9, 29), (0.99, 299), (0.5, 5)])
def test_how_many_cases_it_takes(target: float, needed: int) -> None:
    assert cases_needed(target) == needed
    assert lower_bound(needed, needed) >= target > lower_bound(needed - 1, needed - 1)


@given(ANSWERS, st.integers(1, 20), st.integers(0, 1_000))
def test_a_row_counts_what_a_person_would(answers: list[Answered], silent: int, step: int) -> None:
    threshold, cases = step / 1_000, len(answers) + silent
    row = TradeOff.of(cases, answers).at(threshold)
    accepted = [answer for answer in answers if answer.confidence >= threshold]
    assert row.accepted == len(accepted)
    assert row.right == sum(answer.right for answer in accepted)
    assert row.coverage + row.review == pytest.approx(1)
    assert row.coverage == pytest.approx(len(accepted) / cases)
    assert row.precision == (row.right / len(accepted) if accepted else None)


@given(ANSWERS, st.sampled_from([0.5, 0.8, 0.9]))
@settings(max_examples=60, deadline=None)
def test_the_proposal_is_the_lowest_that_reaches_the_target(
    answers: list[Answered], target: float
) -> None:
    trade_off = TradeOff.of(len(answers), answers)
    lowest = min((answer.confidence for answer in answers), default=2)
    reaching = [
        step / 1_000
        for step in range(math.floor(lowest * 1_000), 1_001)
        if (row := trade_off.at(step / 1_000)).lower is not None and row.lower >= target - 1e-12
    ]
    assert trade_off.lowest(target) == (reaching[0] if reaching else None)


def test_the_table_shows_what_differs_and_the_proposal() -> None:
    answers = [Answered(0.35, False)] * 10 + [Answered(0.62, True)] * 100
    trade_off = TradeOff.of(150, answers)
    found = trade_off.lowest(0.95)
    assert found == 0.351
    rows = trade_off.table(found)
    assert [row.threshold for row in rows] == [0.0, 0.351]
    assert [row.accepted for row in rows] == [110, 100]
    assert {row.threshold for row in trade_off.table()} <= {*SHOWN, 1.0}
    assert TradeOff.of(5, []).table() == []


def pair(detector: str, answer: str, *, right: bool, confidence: float) -> tuple[Case, Prediction]:
    """A case and its prediction; an empty answer is an abstention."""
    pair.number += 1  # type: ignore[attr-defined]
    name = f"{detector}/{pair.number}"  # type: ignore[attr-defined]
    expected = (answer or "PII.Other",) if right else ("QUALITY.Hallucination",)
    case = Case(Question(name, detector, None, None, "x", ""), "here", expected)
    if not answer:
        return case, Prediction(name)
    return case, Prediction(name, (answer,), confidence, "test", abstained=False)


pair.number = 0  # type: ignore[attr-defined]


def groups(by: Any, pairs: list[tuple[Case, Prediction]], target: float = 0.9) -> Any:
    cases, predictions = zip(*pairs, strict=True)
    return {group.name: group for group in groups_of(by, cases, predictions, target)}


def test_groups_by_detector() -> None:
    pairs = [
        *[pair("good", "PII.Contact.Email", right=True, confidence=0.4) for _ in range(40)],
        *[pair("bad", "PII.Contact.Email", right=False, confidence=0.8) for _ in range(40)],
        *[pair("rare", "PII.Contact.Email", right=True, confidence=0.9) for _ in range(28)],
        *[pair("mute", "", right=True, confidence=0) for _ in range(40)],
    ]
    found = groups("detector", pairs)
    assert {name: group.proposed for name, group in found.items()} == {
        "good": 0.4, "bad": None, "rare": None, "mute": None,
    }  # fmt: skip
    assert "too few cases: 28 answered, 29 needed" in found["rare"].verdict
    assert "no threshold is surely right" in found["bad"].verdict
    assert "too few cases: 0 answered" in found["mute"].verdict
    assert proposals("detector", found.values()) == {"detector_thresholds": {"good": 0.4}}
    assert groups("all", pairs)["all"].trade_off.cases == 148


def test_the_longest_branch_has_its_cases_for_itself() -> None:
    """Otherwise good answers below would let bad ones beside them pass."""
    pairs = [
        *[pair("d", "PII.Contact.Email", right=True, confidence=0.5) for _ in range(200)],
        *[pair("d", "PII.Person.Name", right=False, confidence=0.5) for _ in range(10)],
        *[pair("d", "not_a_finding", right=True, confidence=0.7) for _ in range(30)],
        pair("d", "", right=True, confidence=0),
    ]
    found = groups("branch", pairs)
    assert {name: group.proposed for name, group in found.items()} == {
        "PII.Contact": 0.5, "PII.Person": None, "PII": None, "OTHER": 0.7,
    }  # fmt: skip
    assert found["PII"].trade_off.cases == 10
    # A target that the branch below misses leaves its cases to the branch above.
    few = [
        *[pair("d", "PII.Contact.Email", right=True, confidence=0.5) for _ in range(20)],
        *[pair("d", "PII.Person.Name", right=True, confidence=0.5) for _ in range(20)],
    ]
    assert {name: group.proposed for name, group in groups("branch", few).items()} == {
        "PII.Contact": None, "PII.Person": None, "PII": 0.5,
    }  # fmt: skip


def write(path: Path, cases: int) -> Path:
    """Labels whose names are canonical: half of the answers are right."""
    names = ("Email", "Hallucination")
    lines = [
        json.dumps(
            {
                "id": f"c{number}",
                "detector": "somebody's",
                "output": names[number % 2],
                "expected": ["PII.Contact.Email"],
            }
        )
        for number in range(cases)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(*words: str | Path) -> str:
    out = StringIO()
    call_command("tune_thresholds", *map(str, words), stdout=out)
    return out.getvalue()


def test_the_command_proposes_what_can_be_pasted(tmp_path: Path) -> None:
    cases, out = write(tmp_path / "cases.jsonl", 80), tmp_path / "out.json"
    said = run(
        cases, "--mode", "rules", "--target-precision", "0.9", "--by", "branch", "--json", out
    )
    assert "80 cases, mode rules, held out: none" in said
    assert "<- proposed" in said
    pasted = tmp_path / "pillars.yaml"
    pasted.write_text(said.partition("For pillars.yaml:\n\n")[2], encoding="utf-8")
    assert load_config(pasted, {}).values.mapping.branch_thresholds == {"PII.Contact": 1.0}
    found = json.loads(out.read_text())
    assert found["mapping"] == yaml.safe_load(pasted.read_text())["mapping"]
    by_name = {group["name"]: group for group in found["groups"]}
    assert by_name["PII.Contact"]["table"][0]["precision"] == 1.0
    assert by_name["QUALITY"]["proposed"] is None
    assert by_name["QUALITY"]["table"][0]["lower"] == 0.0


@pytest.mark.parametrize("by", ["all", "detector"])
def test_the_command_says_when_there_is_nothing_to_propose(tmp_path: Path, by: str) -> None:
    said = run(write(tmp_path / "cases.jsonl", 80), "--mode", "rules", "--by", by)
    assert "no threshold is surely right in 95 %" in said
    assert "Nothing to propose" in said
    said = run(write(tmp_path / "few.jsonl", 6), "--mode", "rules", "--by", by)
    assert "too few cases: 6 answered, 59 needed" in said


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    cases = write(tmp_path / "cases.jsonl", 2)
    for share in ("0", "1", "95", "x"):
        with pytest.raises(CommandError, match="between 0 and 1"):
            run(cases, "--mode", "rules", "--target-precision", share)
    with pytest.raises(CommandError, match="cannot be read"):
        run(tmp_path / "none.jsonl", "--mode", "rules")
    with pytest.raises(CommandError, match="cannot be written"):
        run(cases, "--mode", "rules", "--json", tmp_path / "no" / "out.json")
    with pytest.raises(CommandError):
        run(cases, "--leave-one-out", "--mode", "rules")

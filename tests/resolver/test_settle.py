"""What becomes of a verdict, by thresholds; labels that join several things."""

from typing import Any

import pytest

from mapping.engine.thresholds import Layer, Thresholds
from mapping.resolver.composite import parts_of, with_parts
from mapping.resolver.resolver import Resolver
from mapping.resolver.settle import Settled, Verdict, settle
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, AnsweredBy, LabelQuestion

EMAIL, OTHER = "PII.Contact.Email", "PII.Contact.Other"
LABELS = {EMAIL, OTHER, "PII.Contact.Phone", "QUALITY.Relevance"}
SHARES = ((EMAIL, 0.5), ("PII.Contact.Phone", 0.3))


def verdict(**more: Any) -> Verdict:
    base = Verdict((EMAIL,), 0.5, "PII.Contact", 0.5, SHARES, (EMAIL, OTHER), "retrieval")
    return base._replace(**more)


def settled(found: Verdict, threshold: float = 0.6) -> Settled:
    return settle(found, lambda _label: threshold, LABELS)


class TestSettle:
    def test_sure_enough_is_accepted_with_further_labels(self) -> None:
        both = (EMAIL, "PII.Contact.Phone")
        found = settled(verdict(labels=both, confidence=0.6, method="model"))
        assert found == Settled("accept", both, 0.6, "model", SHARES, AnsweredBy("model", "", ""))

    def test_a_further_label_must_reach_its_own_threshold(self) -> None:
        both = (EMAIL, "PII.Contact.Phone")
        wanted = {"PII.Contact.Phone": 0.95}
        found = settle(
            verdict(labels=both, confidence=0.7), lambda label: wanted.get(label, 0.6), LABELS
        )
        assert found.labels == (EMAIL,)

    def test_just_under_the_threshold_is_not(self) -> None:
        assert settled(verdict(confidence=0.5999)).outcome == "review"

    def test_a_sure_branch_backs_off_to_its_other(self) -> None:
        found = settled(verdict(branch_confidence=0.7))
        assert found == Settled(
            "parent", (OTHER,), 0.7, "parent", SHARES, AnsweredBy("retrieval", "", "")
        )

    def test_not_where_the_branch_has_none(self) -> None:
        one = verdict(labels=("QUALITY.Relevance",), branch="QUALITY", branch_confidence=0.9)
        assert settled(one).outcome == "review"

    def test_nor_where_it_is_the_first_answer_itself(self) -> None:
        assert settled(verdict(labels=(OTHER,), branch_confidence=0.9)).outcome == "review"

    def test_a_long_or_empty_set_is_no_help_to_a_person(self) -> None:
        for review in ((), tuple(f"A.L{n}" for n in range(6))):
            found = settled(verdict(review=review))
            assert (found.outcome, found.labels, found.candidates) == ("fallback", (), SHARES)

    def test_none_of_these_is_a_persons_however_sure(self) -> None:
        found = settled(verdict(labels=(NONE_OF_THESE,), branch=NONE_OF_THESE, confidence=1.0))
        assert (found.outcome, found.labels) == ("fallback", ())

    def test_no_finding_wants_to_be_sure_and_has_no_branch(self) -> None:
        one = verdict(labels=(NOT_A_FINDING,), branch=NOT_A_FINDING, branch_confidence=0.99)
        assert settled(one._replace(confidence=0.9)).labels == (NOT_A_FINDING,)
        assert settled(one).outcome == "review"

    @pytest.mark.parametrize(
        ("layer", "outcome"),
        [
            (Layer(0.4), "accept"),
            (Layer(0.4, branches={EMAIL: 0.9, "PII.Contact": 0.45}), "parent"),
            (Layer(0.4, branches={"PII": 0.9}), "review"),
            (Layer(0.9, detectors={"my-tool": 0.2}), "accept"),
        ],
    )
    def test_thresholds_of_branch_and_detector(self, layer: Layer, outcome: str) -> None:
        limit = Thresholds(layer).for_detector("my-tool")
        assert settle(verdict(), limit, LABELS).outcome == outcome


class TestComposite:
    @pytest.mark.parametrize(
        ("label", "parts"),
        [
            ("drugs, weapons and banned substances", ["drugs", "weapons", "banned substances"]),
            ("Hate & Violence", ["Hate", "Violence"]),
            ("spam|scam", ["spam", "scam"]),
            ("hate/threatening", []),
            ("self-harm", []),
            ("Portland", []),
            ("weapon of horror", []),
            ("a, b, c", []),
            ("and or and", []),
            ("one, two, three, four, five", []),
            ("", []),
        ],
    )
    def test_parts(self, label: str, parts: list[str]) -> None:
        asked = LabelQuestion("d", label, "a description", "kind", "1.2")
        found = parts_of(asked)
        assert [one.label for one in found] == parts
        assert {one._replace(label="") for one in found} <= {
            LabelQuestion("d", "", "", "kind", "1.2")
        }

    def test_only_sure_parts_that_are_labels_add_theirs(self) -> None:
        sure = verdict(labels=("A.B",), confidence=0.9)
        parts = [
            sure, sure._replace(labels=("A.C",), confidence=0.79),
            sure._replace(labels=(NOT_A_FINDING,)), sure._replace(labels=("OTHER.Flagged",)),
            sure._replace(labels=(EMAIL,)),
        ]  # fmt: skip
        whole = verdict()
        assert with_parts(whole, parts) == whole._replace(labels=(EMAIL, "A.B"))
        nothing = whole._replace(labels=(NOT_A_FINDING,))
        assert with_parts(nothing, parts) == nothing

    def test_by_the_shipped_models(self, resolver: Resolver) -> None:
        joined = LabelQuestion("my-tool", "drugs, weapons and banned substances")
        one_kind = LabelQuestion("my-tool", "hate/threatening")
        found = resolver.resolve([joined, one_kind])
        assert set(found[joined].labels) == {"HARM.CRIME.Drugs", "HARM.WEAPONS.Conventional"}
        assert len(found[one_kind].labels) == 1
        assert found[one_kind].labels[0].startswith("HARM.SPEECH")

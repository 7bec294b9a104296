"""Labels of one event carried by a plan, and the counts that must balance: no database."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mapping.relabel import RETIRED, Before, Relabelling, own_pairs
from mapping.tallies import Tally
from taxonomy.migration import MigrationPlan


class TestPlainRules:
    PLAN = MigrationPlan.from_document(
        {"from": "2001.01", "to": "2002.01", "version": "2002.01.1", "steps": [
            {"label": "X.A", "keep": True},
            {"label": "X.B", "retire": "Nobody ever used this label."},
            {"label": "X.C", "split": [
                {"when": {"detector": "d", "source_label": "s"}, "into": "Y.C"},
                {"otherwise": "Y.D"},
            ]},
        ]}
    )  # fmt: skip

    def test_a_retired_label_leaves_nothing(self) -> None:
        after = Relabelling.forward(self.PLAN).event(
            Before("d", own_pairs(["X.B", "X.A"]), [("b", "X.B"), ("a", "X.A")])
        )
        assert (after.labels, after.canonical) == (("X.A",), (None, "X.A"))
        assert after.lossy
        tally = Tally()
        tally.add(after)
        assert tally.flow == {"X.B": {RETIRED: 1}, "X.A": {"X.A": 1}}
        assert list(tally.imbalances(Relabelling.forward(self.PLAN))) == []

    def test_a_label_without_a_finding_takes_the_rule_for_all_others(self) -> None:
        after = Relabelling.forward(self.PLAN).event(Before("d", own_pairs(["X.C"]), []))
        assert after.labels == ("Y.D",)

    def test_a_label_that_the_plan_does_not_know_stays_and_is_counted(self) -> None:
        rules = Relabelling.forward(self.PLAN)
        after = rules.event(Before("d", own_pairs(["Z.Z"]), [("z", "Z.Z")]))
        assert (after.labels, after.unplanned, after.lossy) == (("Z.Z",), ("Z.Z",), False)
        tally = Tally()
        tally.add(after)
        assert list(tally.imbalances(rules)) == []

    def test_a_further_edition_is_carried_too(self) -> None:
        rules = Relabelling.forward(self.PLAN)
        assert rules.concerns("2001.01")
        assert rules.concerns("2001.01.2")
        assert not rules.concerns("2001.011")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda tally: tally.before.update({"X.A": 1}), "X.A: 2 events before, 1 accounted"),
            (lambda tally: tally.after.update({"Y.C": 1}), "Y.C: 2 events after, 1 came in"),
            (lambda tally: tally.flow["X.A"].update({"Y.C": 1}), "X.A: became Y.C, which"),
        ],
    )
    def test_what_does_not_balance_is_named(
        self, change: Callable[[Tally], Any], problem: str
    ) -> None:
        rules, tally = Relabelling.forward(self.PLAN), Tally()
        tally.add(rules.event(Before("d", own_pairs(["X.A"]), [("a", "X.A")])))
        tally.add(rules.event(Before("d", own_pairs(["X.C"]), [("s", "X.C")])))
        assert list(tally.imbalances(rules)) == []
        change(tally)
        assert any(found.startswith(problem) for found in tally.imbalances(rules))
        assert Tally.from_dict(json.loads(json.dumps(tally.as_dict()))) == tally

"""Migration plans between taxonomy editions: the shipped one, drafts, refusals, the way back."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from taxonomy.documents import read_plan
from taxonomy.errors import KnowledgeFileError
from taxonomy.migration import MigrationPlan, check_plan, draft_plan, plan_problems
from taxonomy.vocabularies import read_taxonomies

ROOT = Path(__file__).resolve().parents[2] / "pillars-detectors"
SHIPPED = ROOT / "migrations" / "2025.09-2026.11.yaml"
EDITIONS = {name: document.data for name, document in read_taxonomies(ROOT).items()}
OLD, NEW = EDITIONS["2025.09"], EDITIONS["2026.11"]
PLAN = MigrationPlan.from_document(read_plan(SHIPPED).data)

SMALL_OLD = {"edition": "2001.01", "labels": {"X.A": {"aliases": []}, "X.B": {"aliases": []}}}
SMALL_NEW = {"edition": "2002.01", "labels": {"X.A": {"aliases": []}, "Y.C": {"aliases": []}}}
KEEP_A = {"label": "X.A", "keep": True}
B_TO_C = {"label": "X.B", "rename": "Y.C"}
WHEN = {"detector": "d", "source_label": "s"}


def small(*steps: dict[str, Any], old: str = "2001.01", new: str = "2002.01") -> MigrationPlan:
    document = {"from": old, "to": new, "version": f"{new}.1", "steps": list(steps)}
    return MigrationPlan.from_document(document)


def split(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"label": "X.B", "split": list(rules)}


def command(*arguments: object) -> tuple[str, str]:
    """What the command printed, and what it failed with ("" if it did not)."""
    out, failure = StringIO(), ""
    try:
        call_command("plan_migration", *arguments, stdout=out)
    except CommandError as error:
        failure = str(error)
    return out.getvalue(), failure


def test_the_shipped_plan_is_valid_and_complete() -> None:
    assert check_plan(read_plan(SHIPPED), directory=ROOT, old=OLD, new=NEW) == []
    assert [step.label for step in PLAN.steps] == list(OLD["labels"])
    assert len(PLAN.steps) == 35


@pytest.mark.parametrize(
    ("label", "detector", "source_label", "expected"),
    [
        ("PII.Contact.Email", None, None, "PII.Contact.Email"),
        ("PII.Identifier.CreditCard", None, None, "PII.Financial.CreditCard"),
        ("HARM.VIOLENCE.Suicide", "any", "any", "HARM.SELF_HARM.Suicide"),
        ("PROMPT_INJECTION.Other", None, None, "PROMPT_INJECTION.Direct"),
        ("HARM.VIOLENCE.Sexual", None, None, "HARM.SEXUAL.Violence"),
        ("HARM.VIOLENCE.Sexual", "openai-moderation", "sexual", "HARM.SEXUAL.Adult"),
        ("HARM.VIOLENCE.Sexual", "openai-moderation", "other", "HARM.SEXUAL.Violence"),
        ("HARM.VIOLENCE.Sexual", "another", "sexual", "HARM.SEXUAL.Violence"),
        ("PII.Health.HIPAA", "regex-pii", "health_id", "PII.Health.RecordNumber"),
    ],
)
def test_a_finding_migrates(
    label: str, detector: str | None, source_label: str | None, expected: str
) -> None:
    assert PLAN.migrate(label, detector=detector, source_label=source_label) == expected


def test_a_retired_label_has_its_replacement_or_none() -> None:
    reason = "Nobody ever used this label."
    assert small({"label": "X.B", "retire": reason}).migrate("X.B") is None
    replaced = small({"label": "X.B", "retire": reason, "replaced_by": "Y.C"})
    assert replaced.migrate("X.B") == "Y.C"
    assert replaced.invert().labels == {}


def test_an_unknown_or_undecided_label_does_not_migrate() -> None:
    plan = small(KEEP_A, {"label": "X.B", "todo": ["Y.C"]})
    for label in ("X.B", "X.Z"):
        with pytest.raises(LookupError, match=f"says nothing of {label}"):
            plan.migrate(label)
    with pytest.raises(LookupError, match="no `otherwise`"):
        small(split({"when": WHEN, "into": "Y.C"})).migrate("X.B")


TAKES_S = {"when": WHEN, "into": "Y.C"}
REST = {"otherwise": "X.A"}
REFUSED = {
    "missing": ([KEEP_A], "steps: X.B of edition 2001.01 has no step. Add one."),
    "twice": (
        [KEEP_A, B_TO_C, KEEP_A],
        "steps[2]: X.A has a step already. Remove one of them.",
    ),
    "unknown old": (
        [KEEP_A, B_TO_C, {"label": "X.Z", "retire": "It never was."}],
        "steps[2]: X.Z is not in edition 2001.01. Correct or remove it.",
    ),
    "unknown new": (
        [KEEP_A, {"label": "X.B", "rename": "Y.Z"}],
        "steps[1]: Y.Z is not in edition 2002.01. Use one of its labels.",
    ),
    "keep of what is gone": (
        [KEEP_A, {"label": "X.B", "keep": True}],
        "steps[1]: X.B is not in edition 2002.01. Use one of its labels.",
    ),
    "unknown replacement": (
        [KEEP_A, {"label": "X.B", "retire": "Not needed.", "replaced_by": "Y.Z"}],
        "steps[1]: Y.Z is not in edition 2002.01. Use one of its labels.",
    ),
    "no otherwise": (
        [KEEP_A, split(TAKES_S)],
        "steps[1].split: the split of X.B has no `otherwise`. Add one as its last rule.",
    ),
    "otherwise first": (
        [KEEP_A, split(REST, TAKES_S, REST)],
        "steps[1].split[0]: `otherwise` takes all that follows. Make it the last rule.",
    ),
    "when twice": (
        [KEEP_A, split(TAKES_S, TAKES_S, REST)],
        "steps[1].split[1]: d s has a rule already. Remove one of them.",
    ),
    "merge of one": (
        [KEEP_A, {"label": "X.B", "merge": "Y.C"}],
        "steps[1]: Y.C comes from X.B alone. Use rename.",
    ),
    "rename into a shared label": (
        [KEEP_A, {"label": "X.B", "rename": "X.A"}],
        "steps[1]: X.A also comes from X.A. Use merge.",
    ),
    "rename to itself": (
        [{"label": "X.A", "rename": "X.A"}, B_TO_C],
        "steps[0]: X.A goes to its own name. Use keep.",
    ),
    "undecided": (
        [KEEP_A, {"label": "X.B", "todo": ["X.A", "Y.C"]}],
        "steps[1]: X.B is not decided (X.A, Y.C). "
        "Put keep, rename, merge, split or retire in the place of todo.",
    ),
}


@pytest.mark.parametrize(("steps", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_step_is_refused(steps: list[dict[str, Any]], message: str) -> None:
    assert plan_problems(small(*steps), SMALL_OLD, SMALL_NEW) == [message]


def test_other_editions_are_refused() -> None:
    plan = small(KEEP_A, B_TO_C, old="2000.01", new="2003.01")
    assert plan_problems(plan, SMALL_OLD, SMALL_NEW) == [
        "from: is 2000.01, and the plan was held against 2001.01. "
        "Correct it, or name the right edition.",
        "to: is 2003.01, and the plan was held against 2002.01. "
        "Correct it, or name the right edition.",
    ]


@pytest.mark.parametrize(
    "step",
    [
        "{label: X.B}",
        "{label: X.B, keep: true, rename: Y.C}",
        "{label: X.B, keep: false}",
        "{label: X.B, rename: Y.C, replaced_by: Y.C}",
        "{label: X.B, split: []}",
        "{label: X.B, split: [{when: {detector: d}, into: Y.C}]}",
        "{label: X.B, split: [{into: Y.C}]}",
        "{label: X.B, split: [{otherwise: Y.C, into: Y.C}]}",
    ],
)
def test_a_step_of_another_form_is_refused_with_its_line(tmp_path: Path, step: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        f'from: "2001.01"\nto: "2002.01"\nversion: "2002.01.1"\nsteps:\n'
        f"  - {{label: X.A, keep: true}}\n  - {step}\n"
    )
    problems = check_plan(read_plan(path), directory=ROOT, old=SMALL_OLD, new=SMALL_NEW)
    assert problems
    for problem in problems:
        assert problem.startswith(f"{tmp_path.name}/plan.yaml:6: steps[1]"), problem


def test_a_problem_of_meaning_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        SHIPPED.read_text().replace("rename: PII.Financial.CreditCard", "rename: PII.Nothing")
    )
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "Nothing}" in text)
    problems = check_plan(read_plan(path), directory=ROOT, old=OLD, new=NEW)
    assert [problem.split(":")[:2] for problem in problems] == [
        [f"{tmp_path.name}/plan.yaml", str(line)]
    ]


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("from: [")
    with pytest.raises(KnowledgeFileError, match=r"plan\.yaml:"):
        read_plan(path)


def test_the_way_back() -> None:
    inversion = PLAN.invert()
    assert (inversion.old, inversion.new) == ("2025.09", "2026.11")
    assert inversion.renames["PII.Financial.CreditCard"] == "PII.Identifier.CreditCard"
    assert inversion.labels["PII.Contact.Email"] == "PII.Contact.Email"
    assert "PII.Contact.Email" not in inversion.renames
    assert not {"PROMPT_INJECTION.Direct", "HARM.VIOLENCE.Physical"} & inversion.labels.keys()
    starts = {statement.split(" ")[0] for statement in inversion.lossy}
    assert starts == {
        "PROMPT_INJECTION.Direct", "HARM.VIOLENCE.Physical",  # both a split and a merge
        "PII.Health.HIPAA", "HARM.SPEECH.Insult", "HARM.VIOLENCE.Sexual",
    }  # fmt: skip
    assert len(inversion.lossy) == 6


def test_what_the_way_back_names_leads_forward_again() -> None:
    forward = {step.label: step.targets for step in PLAN.steps}
    for new, old in PLAN.invert().labels.items():
        assert new in forward[old]


def test_a_retirement_cannot_be_undone() -> None:
    plan = small(KEEP_A, {"label": "X.B", "retire": "Nobody ever used this label."})
    assert plan.invert().lossy == (
        "X.B was retired: no label leads back to it. Keep the old findings.",
    )


def test_a_draft_decides_by_names_and_leaves_the_rest_open() -> None:
    draft = draft_plan(OLD, NEW)
    steps = {step["label"]: step for step in draft["steps"]}
    assert list(steps) == list(OLD["labels"])
    assert steps["PII.Contact.Email"] == {"label": "PII.Contact.Email", "keep": True}
    assert steps["PII.Identifier.BankAccount"]["rename"] == "PII.Financial.BankAccount"
    assert steps["HARM.VIOLENCE.SelfHarm"]["rename"] == "HARM.SELF_HARM.General"
    assert steps["PROMPT_INJECTION.Other"]["merge"] == "PROMPT_INJECTION.Direct"
    assert steps["HARM.VIOLENCE.Other"]["merge"] == "HARM.VIOLENCE.Physical"
    open_steps = [label for label, step in steps.items() if "todo" in step]
    assert open_steps == ["HARM.VIOLENCE.Sexual"]
    problems = plan_problems(MigrationPlan.from_document(draft), OLD, NEW)
    assert len(problems) == 1
    assert "HARM.VIOLENCE.Sexual is not decided" in problems[0]


def test_a_draft_without_a_candidate_is_open() -> None:
    assert draft_plan(SMALL_OLD, SMALL_NEW)["steps"][1] == {"label": "X.B", "todo": []}


def test_the_command_drafts(tmp_path: Path) -> None:
    text, failure = command("2025.09", "2026.11")
    assert failure == ""
    assert yaml.safe_load(text) == draft_plan(OLD, NEW)
    assert json.loads(command("2025.09", "2026.11", "--json")[0]) == draft_plan(OLD, NEW)
    path = tmp_path / "draft.yaml"
    assert command("2025.09", "2026.11", "--output", path) == (f"{path}: 35 steps\n", "")
    assert path.read_text() == text


def test_the_command_checks(tmp_path: Path) -> None:
    assert command("2025.09", "2026.11", "--check", SHIPPED) == ("The plan is valid.\n", "")
    path = tmp_path / "draft.yaml"
    command("2025.09", "2026.11", "--output", path)
    text, failure = command("2025.09", "2026.11", "--check", path, "--json")
    assert failure == "1 problems."
    assert "is not decided" in json.loads(text)["problems"][0]


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    assert "There is no edition 1999.01" in command("1999.01", "2026.11")[1]
    missing = tmp_path / "no" / "draft.yaml"
    assert "Name another file" in command("2025.09", "2026.11", "--output", missing)[1]
    assert command("2025.09", "2026.11", "--check", missing)[1] == "1 problems."
    both = command("2025.09", "2026.11", "--check", SHIPPED, "--output", missing)
    assert "Leave --output out" in both[1]

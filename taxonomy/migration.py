"""Plans that carry findings from one taxonomy edition to another: drafted, checked and applied.

A plan is data (pillars-detectors/migrations/FROM-TO.yaml) with one step for each old label.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taxonomy.documents import Document, KeyPath
from taxonomy.validation import branches, misfits

Action = Literal["keep", "rename", "merge", "split", "retire", "todo"]
Place = Callable[[KeyPath], str]  # where a value of the plan stands, for messages
_ACTIONS: tuple[Action, ...] = ("keep", "rename", "merge", "split", "retire", "todo")
_UNKNOWN = "OTHER.Unknown"
_VAGUE = "other"  # a last part that names no thing: two labels that end so need not be alike


@dataclass(frozen=True, slots=True)
class Rule:
    """One way out of a split. `source` is detector and its label; None is `otherwise`."""

    source: tuple[str, str] | None
    into: str


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one old label. `into` is where all of its findings go, if one place."""

    label: str
    action: Action
    into: str | None = None
    rules: tuple[Rule, ...] = ()
    candidates: tuple[str, ...] = ()
    reason: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The new labels that findings of this one can become, each once."""
        into = [rule.into for rule in self.rules] if self.into is None else [self.into]
        return tuple(dict.fromkeys(into))


@dataclass(frozen=True, slots=True)
class Inversion:
    """The way back. `labels` is new to old, where the new label alone tells the old one.

    Labels that the new edition added are not in it: nothing in the old one led to them.
    """

    old: str
    new: str
    labels: Mapping[str, str]
    lossy: tuple[str, ...]

    @property
    def renames(self) -> dict[str, str]:
        """Those of `labels` whose name changes."""
        return {new: old for new, old in self.labels.items() if new != old}


@dataclass(frozen=True, slots=True)
class WayBack:
    """Every label of edition `new` as one of edition `old`, so that nothing is left without a name.

    `exact` are the labels whose old name says the same; of the others it is the nearest one.
    """

    old: str
    new: str
    labels: Mapping[str, str]
    exact: frozenset[str]

    def then(self, earlier: "WayBack") -> "WayBack":
        """The way through an edition between: from `new` to what `earlier` leads back to."""
        return WayBack(
            earlier.old,
            self.new,
            {label: earlier.labels[old] for label, old in self.labels.items()},
            frozenset(label for label in self.exact if self.labels[label] in earlier.exact),
        )


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The steps from edition `old` to edition `new`. `version` is that of the plan's file."""

    old: str
    new: str
    version: str
    steps: tuple[Step, ...]

    @classmethod
    def from_document(cls, data: Mapping[str, Any]) -> "MigrationPlan":
        """The plan in a file's data, which must fit schemas/migration.schema.json."""
        steps = tuple(_step(step) for step in data["steps"])
        return cls(data["from"], data["to"], data["version"], steps)

    def migrate(
        self, label: str, *, detector: str | None = None, source_label: str | None = None
    ) -> str | None:
        """The new label of a finding; None where the old one was retired without a successor.

        Raises LookupError for a label that the plan does not hold or has not decided on.
        """
        step = next((step for step in self.steps if step.label == label), None)
        if step is None or step.action == "todo":
            raise LookupError(
                f"The plan from {self.old} to {self.new} says nothing of {label}. "
                "Correct the name, or add a step to the plan."
            )
        if step.action != "split":
            return step.into
        for rule in step.rules:
            if rule.source is None or rule.source == (detector, source_label):
                return rule.into
        raise LookupError(f"The split of {label} has no `otherwise`. Add one as its last rule.")

    def invert(self) -> Inversion:
        """The way back, and what cannot be undone by the label alone."""
        sources = _sources(self.steps)
        labels = {new: old[0] for new, old in sources.items() if len(old) == 1}
        for step in self.steps:
            if step.action == "retire" and step.into is not None:
                labels.pop(step.into, None)  # a stand-in is no other name of what was retired
        return Inversion(self.old, self.new, labels, tuple(_losses(self.steps, sources=sources)))

    def way_back(self, *, old: Iterable[str], new: Iterable[str]) -> WayBack:
        """The whole way back between the labels of both editions.

        Where `invert` names no old label, the nearest one is taken: the same name, else of those
        that the plan merged a general one (`Other`), else the first; for a label that the new
        edition added, `Other` of the nearest branch, else OTHER.Unknown.
        """
        exact, known, sources = self.invert().labels, set(old), _sources(self.steps)
        labels = {
            label: exact.get(label) or _nearest(label, known=known, sources=sources.get(label, []))
            for label in new
        }
        return WayBack(self.old, self.new, labels, frozenset(exact) & labels.keys())


def _nearest(label: str, *, known: set[str], sources: list[str]) -> str:
    if label in known:
        return label
    if sources:
        return next((source for source in sources if _words(source) == _VAGUE), sources[0])
    general = (f"{branch}.Other" for branch in branches(label)[1:])
    return next((name for name in general if name in known), _UNKNOWN)


def _step(data: Mapping[str, Any]) -> Step:
    label = data["label"]
    action = next(action for action in _ACTIONS if action in data)
    if action == "split":
        return Step(label, action, rules=tuple(_rule(rule) for rule in data["split"]))
    if action == "todo":
        return Step(label, action, candidates=tuple(data["todo"]))
    if action == "retire":
        return Step(label, action, into=data.get("replaced_by"), reason=data["retire"])
    return Step(label, action, into=label if action == "keep" else data[action])


def _rule(data: Mapping[str, Any]) -> Rule:
    if "otherwise" in data:
        return Rule(None, data["otherwise"])
    return Rule((data["when"]["detector"], data["when"]["source_label"]), data["into"])


def _sources(steps: Iterable[Step]) -> dict[str, list[str]]:
    """The old labels that lead to each new one, each once."""
    sources: dict[str, list[str]] = defaultdict(list)
    for step in steps:
        for target in step.targets:
            if step.label not in sources[target]:
                sources[target].append(step.label)
    return dict(sources)


def _losses(steps: Iterable[Step], *, sources: Mapping[str, list[str]]) -> Iterator[str]:
    for target, olds in sources.items():
        if len(olds) > 1:
            yield (
                f"{target} comes from {' and '.join(olds)}: the label alone does not tell which. "
                "Keep the old label beside it."
            )
    for step in steps:
        if step.action == "split" and len(step.targets) > 1:
            yield (
                f"{step.label} was split into {' and '.join(step.targets)}: after the way back, "
                "only the detector's own label tells them apart. Keep it beside the finding."
            )
        elif step.action == "retire":
            yield f"{step.label} was retired: no label leads back to it. Keep the old findings."


# ---- Checking ------------------------------------------------------------------------------


def check_plan(
    document: Document, *, directory: Path, old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[str]:
    """Every problem of a plan's file, with file and line: of its form, or else of its meaning."""
    problems = list(misfits(directory, "migration", [document]))
    if problems:
        return problems
    plan = MigrationPlan.from_document(document.data)
    return plan_problems(plan, old, new, place=document.place)


def _dotted(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(
        "."
    )


def plan_problems(
    plan: MigrationPlan,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    place: Place = _dotted,
) -> list[str]:
    """What is wrong with a plan between two taxonomy editions; an empty list if nothing is."""
    problems = list(_edition_problems(plan, old, new, place=place))
    if problems:  # the labels of other editions would all be unknown
        return problems
    problems += _version_problems(plan, place=place)
    problems += _coverage_problems(plan, labels=old["labels"], place=place)
    sources = _sources(plan.steps)
    for index, step in enumerate(plan.steps):
        here: KeyPath = ("steps", index)
        problems += _target_problems(step, edition=new, where=place(here))
        problems += _sharing_problems(step, sources=sources, where=place(here))
        problems += _split_problems(step, place=place, here=here)
    return problems


def _edition_problems(
    plan: MigrationPlan, old: Mapping[str, Any], new: Mapping[str, Any], *, place: Place
) -> Iterator[str]:
    for field, said, edition in (
        ("from", plan.old, old["edition"]),
        ("to", plan.new, new["edition"]),
    ):
        if said != edition:
            yield (
                f"{place((field,))}: is {said}, and the plan was held against {edition}. "
                "Correct it, or name the right edition."
            )


def _version_problems(plan: MigrationPlan, *, place: Place) -> Iterator[str]:
    if plan.old == plan.new:
        yield f"{place(('to',))}: leads back to {plan.old} itself. Name two editions."
    if plan.version.rpartition(".")[0] != plan.new:
        yield (
            f"{place(('version',))}: {plan.version} belongs to another edition than {plan.new}. "
            f"Set it to {plan.new}.1, or raise its last number."
        )


def _coverage_problems(
    plan: MigrationPlan, *, labels: Mapping[str, Any], place: Place
) -> Iterator[str]:
    seen: set[str] = set()
    for index, step in enumerate(plan.steps):
        where = place(("steps", index))
        if step.label not in labels:
            yield f"{where}: {step.label} is not in edition {plan.old}. Correct or remove it."
        elif step.label in seen:
            yield f"{where}: {step.label} has a step already. Remove one of them."
        seen.add(step.label)
    for label in labels:
        if label not in seen:
            yield f"{place(('steps',))}: {label} of edition {plan.old} has no step. Add one."


def _target_problems(step: Step, *, edition: Mapping[str, Any], where: str) -> Iterator[str]:
    if step.action == "todo":
        choice = ", ".join(step.candidates) or "no candidates"
        yield (
            f"{where}: {step.label} is not decided ({choice}). "
            "Put keep, rename, merge, split or retire in the place of todo."
        )
    for target in step.targets:
        if target not in edition["labels"]:
            yield (
                f"{where}: {target} is not in edition {edition['edition']}. Use one of its labels."
            )


def _sharing_problems(step: Step, *, sources: Mapping[str, list[str]], where: str) -> Iterator[str]:
    if step.into is None or step.action not in ("rename", "merge"):
        return
    others = [label for label in sources[step.into] if label != step.label]
    if step.into == step.label:
        yield f"{where}: {step.label} goes to its own name. Use keep."
    elif step.action == "rename" and others:
        yield f"{where}: {step.into} also comes from {', '.join(others)}. Use merge."
    elif step.action == "merge" and not others:
        yield f"{where}: {step.into} comes from {step.label} alone. Use rename."


def _split_problems(step: Step, *, place: Place, here: KeyPath) -> Iterator[str]:
    if step.action != "split":
        return
    if not any(rule.source is None for rule in step.rules):
        yield (
            f"{place((*here, 'split'))}: the split of {step.label} has no `otherwise`. "
            "Add one as its last rule."
        )
    seen: set[tuple[str, str]] = set()
    for index, rule in enumerate(step.rules):
        where = place((*here, "split", index))
        if rule.source is None and index != len(step.rules) - 1:
            yield f"{where}: `otherwise` takes all that follows. Make it the last rule."
        elif rule.source in seen:
            yield f"{where}: {' '.join(rule.source)} has a rule already. Remove one of them."
        if rule.source is not None:
            seen.add(rule.source)


# ---- Drafting ------------------------------------------------------------------------------


def draft_plan(old_taxonomy: Mapping[str, Any], new_taxonomy: Mapping[str, Any]) -> dict[str, Any]:
    """A first plan from names and aliases. Where they do not decide, a step says `todo`.

    Names are no meanings: somebody has to read every step.
    """
    names = _names(new_taxonomy["labels"])
    choices = {
        label: [label]
        if label in new_taxonomy["labels"]
        else _candidates(label, aliases=meaning["aliases"], names=names)
        for label, meaning in old_taxonomy["labels"].items()
    }
    shared = Counter(found[0] for found in choices.values() if len(found) == 1)
    return {
        "from": old_taxonomy["edition"],
        "to": new_taxonomy["edition"],
        "version": f"{new_taxonomy['edition']}.1",
        "steps": [_drafted(label, found, shared=shared) for label, found in choices.items()],
    }


def _drafted(label: str, found: list[str], *, shared: Mapping[str, int]) -> dict[str, Any]:
    if len(found) != 1:
        return {"label": label, "todo": found}
    target = found[0]
    if target == label:
        return {"label": label, "keep": True}
    return {"label": label, "merge" if shared[target] > 1 else "rename": target}


def _names(labels: Mapping[str, Any]) -> dict[str, list[str]]:
    """The labels that each alias or last part stands for."""
    names: dict[str, list[str]] = defaultdict(list)
    for label, meaning in labels.items():
        for name in {_words(label), *meaning["aliases"]} - {_VAGUE}:
            names[name].append(label)
    return dict(names)


def _candidates(label: str, *, aliases: Iterable[str], names: Mapping[str, list[str]]) -> list[str]:
    """The new labels that go by a name of the old one, in their order.

    A last part that is the same in one of them alone decides: an alias is only a hint.
    """
    own = _words(label)
    found: dict[str, None] = {}
    for name in (own, *aliases):
        found.update(dict.fromkeys(names.get(name, [])))
    same = [candidate for candidate in found if _words(candidate) == own]
    return same if len(same) == 1 else list(found)


def _words(label: str) -> str:
    """The last part of a label in the form of an alias: SelfHarm becomes `self harm`."""
    last = label.rpartition(".")[2]
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", last)
    return parts.lower()

"""Makes a data set: from sources to files and their manifest. Equal input gives equal bytes."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mapping.engine.propose import spelling
from mapping.evaluation.folds import Folds, FoldsError
from mapping.resolver.prompt import prompt_version
from training.datasets import store
from training.datasets.card import card
from training.datasets.findings import Finding
from training.datasets.instructions import Drawing, Instructor, Nearness, Row
from training.datasets.sides import SIDES, Side
from training.datasets.sources import (
    OF_DETECTORS,
    Item,
    Knowledge,
    encoder_dataset,
    file_digest,
    glossary_items,
    items,
    read_decisions,
    read_knowledge,
)
from training.datasets.spellings import Known
from training.datasets.splits import Splitting, divide
from training.datasets.synthetic import WORDING, invent
from training.datasets.validate import blocking, validate
from training.encoder.data import Dataset, Example, content_of

# Version of the code that makes samples: a change of it makes other sets of the same sources.
MAKER: Final = 2


class BuildError(ValueError):
    """The set may not be kept. `findings` say why."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(f"{one.message} ({one.count})" for one in self.findings))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a data set is made of. `scores`: folds.npz, or None for likeness of letters alone."""

    directory: Path
    edition: str
    name: str = "default"
    seed: int = 0
    synthetic: int = 6  # invented labels for every answer
    glossary: int = 16  # labels of the glossary for every answer, at most
    splitting: Splitting = field(default_factory=Splitting)
    drawing: Drawing = field(default_factory=Drawing)
    decisions: Path | None = None
    scores: Path | None = None
    command: str = ""  # for the card


@dataclass(frozen=True, slots=True)
class Built:
    """A data set in memory."""

    files: dict[str, bytes]
    manifest: dict[str, Any]
    findings: list[Finding]  # warnings


def build(recipe: Recipe) -> Built:
    """Raises SourceError, SplitError, FoldsError, and BuildError for a set that may not be kept."""
    known = read_knowledge(recipe.directory, recipe.edition)
    digests = dict(known.digests)
    decisions: list[Example] = []
    left_out: dict[str, int] = {}
    if recipe.decisions is not None:
        decisions, ignored = read_decisions(recipe.decisions, known)
        left_out["decisions on labels that a file has"] = ignored
        digests["decisions"] = file_digest([recipe.decisions])
    folds = None
    if recipe.scores is not None:
        folds = Folds.load(recipe.scores)
        digests["scores"] = file_digest([recipe.scores])
    digests["wording"] = file_digest([WORDING])
    dataset = encoder_dataset(known, decisions)
    spellings = Known.of(dataset)
    found = items(known, dataset)
    sides = divide(found, recipe.splitting)
    learnt = [
        one.example for one in found if one.kind == "detector" and sides[one.vendor] == "train"
    ]
    nearness = Nearness(known.taxonomy, list(dataset.texts), folds, learnt)
    if folds is not None and not nearness.scored:
        raise FoldsError(
            f"{recipe.scores}: was scored on other labels than those of edition {recipe.edition}. "
            "Score anew, or build without scores."
        )
    found, without = _unambiguous(found)
    left_out["aliases that several labels have"] = without
    invented = invent(known.taxonomy, list(dataset.texts), spellings, recipe.synthetic, recipe.seed)
    invented += glossary_items(dataset.written, recipe.glossary, recipe.seed)
    teacher = Instructor(known.taxonomy, nearness, spellings, recipe.drawing, recipe.seed)
    rows = _rows([*found, *invented], sides, teacher, left_out)
    findings = validate(rows, known, dataset, invented)
    if wrong := list(blocking(findings)):
        raise BuildError(wrong)
    return _packed(recipe, known, dataset, rows, digests, left_out, findings)


def _unambiguous(found: Iterable[Item]) -> tuple[list[Item], int]:
    """Without the taxonomy's names that several labels have, such as Gender."""
    found = list(found)
    answers: dict[str, set[tuple[str, ...]]] = {}
    for one in found:
        if one.kind == "alias":
            answers.setdefault(spelling(one.example.label), set()).add(one.example.answers)
    kept = [
        one
        for one in found
        if one.kind != "alias" or len(answers[spelling(one.example.label)]) == 1
    ]
    return kept, len(found) - len(kept)


def _rows(
    found: Iterable[Item],
    sides: Mapping[str, Side],
    teacher: Instructor,
    left_out: dict[str, int],
) -> dict[Side, list[Row]]:
    rows: dict[Side, list[Row]] = {side: [] for side in SIDES}
    seen: set[tuple[str, str, str, str]] = set()
    lost: Counter[str] = Counter()
    for item in found:
        one = item.example
        key = (item.kind, one.detector, one.label, one.description)
        side: Side = "train"
        if item.kind in ("detector", "golden", "decision"):
            side = sides[item.vendor]
        if key in seen:
            lost["the same once more"] += 1
        elif side == "train":
            made = list(teacher.learnt(item))
            lost["codes without a description"] += not made
            rows["train"] += made
        elif item.kind == "golden":
            lost["golden spellings of held-out vendors"] += 1
        else:
            rows[side] += teacher.tested(item)
        seen.add(key)
    left_out |= lost
    taken: Counter[str] = Counter()
    for row in (row for side in SIDES for row in rows[side]):
        taken[row["id"]] += 1
        if taken[row["id"]] > 1:  # an invented name may be drawn twice, with other words
            row["id"] = f"{row['id']}~{taken[row['id']]}"
    return rows


def _packed(
    recipe: Recipe,
    known: Knowledge,
    dataset: Dataset,
    rows: Mapping[Side, list[Row]],
    sources: dict[str, str],
    left_out: dict[str, int],
    findings: list[Finding],
) -> Built:
    files = {f"{side}.jsonl": _lines(rows[side]) for side in SIDES}
    files[store.ENCODER] = json.dumps(content_of(dataset)).encode()
    files[store.TAXONOMY] = json.dumps(known.taxonomy, ensure_ascii=False).encode()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest: dict[str, Any] = {
        "format": store.FORMAT,
        "name": recipe.name,
        "digest": "",
        "edition": recipe.edition,
        "seed": recipe.seed,
        "config": _config(recipe, sources),
        "files": sums,
        "sources": sources,
        "splits": {
            side: {
                "file": f"{side}.jsonl",
                "rows": len(rows[side]),
                "sha256": sums[f"{side}.jsonl"],
                "detectors": _detectors(rows[side]),
            }
            for side in SIDES
        },
        "counts": _counts(rows, left_out),
        "encoder_dataset": {
            "file": store.ENCODER,
            "sha256": sums[store.ENCODER],
            "digest": dataset.digest,
        },
        "taxonomy": {"file": store.TAXONOMY, "sha256": sums[store.TAXONOMY]},
    }
    manifest["digest"] = store.digest_of(manifest)
    text = card(manifest, findings, recipe.command).encode()
    manifest["card"] = {"file": store.CARD, "sha256": hashlib.sha256(text).hexdigest()}
    return Built({**files, store.CARD: text}, manifest, findings)


def _config(recipe: Recipe, sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        "maker": MAKER,
        "prompt": prompt_version(),
        "synthetic": recipe.synthetic,
        "glossary": recipe.glossary,
        "splitting": json.loads(json.dumps(asdict(recipe.splitting))),
        "drawing": asdict(recipe.drawing),
        "options": "scores of held-out encoders" if "scores" in sources else "likeness of letters",
        "decisions": "decisions" in sources,
    }


def _lines(rows: Iterable[Row]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _detectors(rows: Iterable[Row]) -> list[str]:
    return sorted({row["detector"] for row in rows if row["kind"] in OF_DETECTORS})


def _counts(rows: Mapping[Side, list[Row]], left_out: Mapping[str, int]) -> dict[str, Any]:
    """Samples by side, and by kind, detector and answer within it."""

    def by(side: Side, member: str) -> dict[str, int]:
        return dict(sorted(Counter(row[member] for row in rows[side]).items()))

    return {
        "kinds": {side: by(side, "kind") for side in SIDES},
        "detectors": {side: by(side, "detector") for side in SIDES},
        "answers": {
            side: dict(sorted(Counter(name for r in rows[side] for name in r["answers"]).items()))
            for side in SIDES
        },
        "described": {side: sum(bool(r["description"]) for r in rows[side]) for side in SIDES},
        "several answers": {side: sum(len(r["answers"]) > 1 for r in rows[side]) for side in SIDES},
        "none of these": {
            side: sum(r["names"][ord(r["letters"][0]) - 65] == "none_of_these" for r in rows[side])
            for side in SIDES
        },
        "left out": {name: count for name, count in sorted(left_out.items()) if count},
    }

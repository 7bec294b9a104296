"""Every route's answers on the same questions: ranked, judged, and with intervals."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from mapping.evaluation.cases import UNMAPPED, Case, Question
from mapping.evaluation.models import answered
from mapping.evaluation.report import Report
from mapping.resolver.glossary import Glossary
from mapping.resolver.retrieve import FEATURES, KnownLabel, Retriever
from mapping.resolver.types import NONE_OF_THESE
from training.datasets.written import pack
from training.lora.folds import fold_of
from training.routes.base import Array
from training.routes.fusion import alone, features_of, fused
from training.routes.material import VARIANTS, Material

_DRAWS: Final = 1_000
_EXTRAS: Final = ("-cosines", "-neighbours")


@dataclass(frozen=True, slots=True)
class Answers:
    """One row of a table: a route's, or an ensemble's, probabilities by variant."""

    name: str
    shares: tuple[Array, ...]  # of each variant: questions x answers


@dataclass(frozen=True, slots=True)
class Share:
    """A share of cases with its 95 % interval over detectors."""

    mean: float
    low: float
    high: float


class Comparison:
    """Reads the folder OUT of a run; all routes on the questions that each of them has answered."""

    def __init__(self, data: Path, out: Path) -> None:
        self.known = Material(data)
        self.out = out
        self.routes = sorted(
            path.stem for path in out.glob("*.npy")
            if path.stem not in ("pools", "shortlists", "lexical")
            and not path.stem.endswith(_EXTRAS)
        )  # fmt: skip
        if not self.routes:
            raise FileNotFoundError(f"{out} holds no scores: run or import some.")
        scores = {name: self._read(name) for name in self.routes}
        there = np.all([_answered(one) for one in scores.values()], axis=0)
        self.rows: list[int] = np.flatnonzero(there).tolist()
        if not self.rows:
            raise FileNotFoundError(f"{out}: no question has been answered by every route.")
        self._scores = {name: one[self.rows] for name, one in scores.items()}
        examples = [self.known.dataset.examples[row] for row in self.rows]
        self.folds = np.array([fold_of(one) for one in examples])
        self.groups = [one.vendor or one.detector for one in examples]
        self.detectors = np.array([one.detector for one in examples])
        self.right = np.array(
            [[name in one.answers for name in self.known.names] for one in examples]
        )
        self.cases = [
            Case(
                Question(
                    f"{one.detector}/{one.label}", one.detector, None, one.category or None,
                    one.label, one.description,
                ),
                f"{one.detector}: {one.label}",
                tuple(sorted(UNMAPPED if n == NONE_OF_THESE else n for n in one.answers)),
            )
            for one in examples
        ]  # fmt: skip

    def _read(self, name: str) -> Array:
        found: Array = np.load(self.out / f"{name}.npy")
        wanted = (len(self.known.dataset.examples), len(VARIANTS), len(self.known.names))
        if found.shape != wanted:
            raise ValueError(f"{name}.npy is of other data than DATA: {found.shape}, not {wanted}.")
        return found.astype(np.float32)

    @property
    def encoders(self) -> list[str]:
        """Routes that retrieval can stand on: those with cosines and neighbours."""
        return [
            name for name in self.routes
            if all((self.out / f"{name}{extra}.npy").exists() for extra in _EXTRAS)
        ]  # fmt: skip

    def alone(self, name: str) -> Answers:
        """A route by its own order."""
        scores = self._scores[name]
        return Answers(
            name,
            tuple(alone(scores[:, v], self.right, self.folds) for v in range(len(VARIANTS))),
        )

    def retrieval(self, encoder: str, *routes: str) -> Answers:
        """What the service's retrieval would answer with an encoder, and routes beside it."""
        shares = []
        for variant in range(len(VARIANTS)):
            values = self._lexical[self.rows, variant].astype(np.float32)
            for place, extra in enumerate(_EXTRAS):
                values[..., place] = self._read(f"{encoder}{extra}")[self.rows, variant]
            values[..., 1] = values[..., 1].clip(min=0)
            added = [features_of(self._scores[name][:, variant]) for name in routes]
            shares.append(
                fused(
                    np.concatenate([values, *added], axis=-1), self.right, self.folds,
                    self.groups, self.known.names,
                )
            )  # fmt: skip
        return Answers(" + ".join((f"retrieval ({encoder})", *routes)), tuple(shares))

    @cached_property
    def _lexical(self) -> Array:
        """Features without those of an encoder, the vendor's own files held out; kept in OUT."""
        path = self.out / "lexical.npy"
        wanted = (
            len(self.known.dataset.examples), len(VARIANTS), len(self.known.names), len(FEATURES)
        )  # fmt: skip
        if path.exists():
            kept: Array = np.load(path)
            if kept.shape == wanted:
                return kept
        # Not among the Markdown, which goes to the standard output.
        print("features of n-grams: once for this folder", file=sys.stderr, flush=True)  # noqa: T201
        examples = self.known.dataset.examples
        retriever = Retriever(
            self.known.taxonomy,
            [KnownLabel(one.detector, one.label, one.aliases, one.description, one.category,
                        one.answers) for one in examples],
            None,
            self._glossary(),
        )  # fmt: skip
        groups = self.known.groups()
        hidden = {
            group: frozenset(
                one.detector for one, g in zip(examples, groups, strict=True) if g == group
            )
            for group in set(groups)
        }
        found = np.zeros(wanted, dtype=np.float16)
        for variant in range(len(VARIANTS)):
            for row, question in enumerate(self.known.questions(range(len(examples)), variant)):
                found[row, variant] = retriever.features(question, hidden[groups[row]])
        np.save(path, found)
        return found

    def _glossary(self) -> Glossary | None:
        """What the data set has of it."""
        written = self.known.dataset.written
        if not written:
            return None
        return Glossary(pack(written, self.known.taxonomy), "")

    def judge(self, answers: Answers, variant: int) -> "Judged":
        """The figures of one variant."""
        shares = answers.shares[variant]
        order = np.argsort(-shares, axis=1, kind="stable")[:, :5]
        names = self.known.names
        predictions = [
            answered(
                case.question, tuple((names[n], float(shares[row, n])) for n in order[row]), "model"
            )
            for row, case in enumerate(self.cases)
        ]
        report = Report.of(self.cases, predictions)
        good = self.right[np.arange(len(order)), order[:, 0]]
        return Judged(answers.name, report, good)

    def share(self, values: Array) -> Share:
        """Mean of a number of each case, detectors drawn anew for the interval (bootstrap)."""
        sums, counts = self._by_detector(values.astype(np.float64))
        generator = np.random.default_rng(0)
        drawn = generator.integers(0, len(sums), size=(_DRAWS, len(sums)))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        return Share(float(sums.sum() / counts.sum()), float(low), float(high))

    def _by_detector(self, values: Array) -> tuple[Array, Array]:
        _, places = np.unique(self.detectors, return_inverse=True)
        return np.bincount(places, weights=values), np.bincount(places).astype(np.float64)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Of the run's folds of a route: mean seconds of training, milliseconds a label, size."""
        files = sorted((self.out / name).glob("fold-*.json"))
        told = [json.loads(path.read_text("utf-8")) for path in files]
        if not told:
            return {}
        return {
            "train_seconds": float(np.mean([one["train_seconds"] for one in told])),
            "ms_a_label": float(np.mean([one["ms_a_label"] for one in told])),
            "device": told[0]["device"],
            "size": told[0]["size"],
        }

    def latencies(self) -> Mapping[str, Any]:
        """What `latency` wrote."""
        path = self.out / "latency.json"
        found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return found


@dataclass(frozen=True, slots=True)
class Judged:
    """A row's figures, and which cases' first answer is right."""

    name: str
    report: Report
    right: Array


def names_of(comparison: Comparison, ensembles: Sequence[Sequence[str]]) -> None:
    """ValueError for an ensemble of what is not there."""
    for one in ensembles:
        for name in one:
            if name not in comparison.routes:
                raise ValueError(f"--ensembles: there are no scores of {name!r}.")


def _answered(scores: Array) -> Array:
    """Which questions have a score in every variant."""
    counts: Array = np.asarray(np.sum(~np.isnan(scores), axis=2))
    found: Array = np.asarray(np.min(counts, axis=1) > 0)
    return found

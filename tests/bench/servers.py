"""Servers of one model side by side, through the whole of `/map`.

`python -m tests.bench.servers DATASET --server embedded=URL --server vllm=URL --model NAME
--adapter NAME`: the test side of a data set is asked of each server in turn, by mapping's engine,
retrieval, client and calibrator. The first server is what the others are compared with.

The calibrator's numbers are the same for all: what differs is the server alone. Retrieval looks as
if it did not know the vendor (training.held_out.features), and the files of the detectors in
question are taken away, so that the model is asked. Exit status 1: a figure is further away than
`--within` says, or a model did not answer. The key is taken from PILLARS_INFERENCE_API_KEY.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args

from mapping.evaluation.folds import Folds
from mapping.evaluation.metrics import Judged, calibration_error, hit, parent_right
from mapping.evaluation.predictors import Known
from mapping.inference import HttpChooser, InferenceOptions
from mapping.inference.options import BackendName
from mapping.resolver.artifacts import SHIPPED, Artifacts
from mapping.resolver.calibrate import Array, Calibrator
from mapping.resolver.resolver import Resolver
from mapping.resolver.retrieve import Names, Retriever
from mapping.resolver.settle import Verdict
from mapping.resolver.types import Chooser, ChooserError, LabelQuestion
from training.datasets.store import load
from training.held_out.features import Retrieval
from training.held_out.questions import HeldOut, held_out
from training.held_out.run import retrieval_of

KNOWLEDGE: Final = Path(__file__).resolve().parents[2] / "pillars-detectors"
SHARES: Final = ("accepted", "parent", "hit_at_5", "ece", "schema_valid")  # 0 to 1
_TOGETHER: Final = 8  # questions at a time, of a server that reads several
_TIMEOUT_SECONDS: Final = 300.0  # a late answer is to be seen, not to be given up
_KINDS: Final[Mapping[str, Callable[[HeldOut], bool]]] = {
    "all": lambda _one: True,
    "with a description": lambda one: bool(one.question.description),
    "label alone": lambda one: not one.question.description,
}


class Server(NamedTuple):
    """What is asked."""

    backend: BackendName
    url: str


class Answer(NamedTuple):
    """What `/map` said of a question, and what stood behind it."""

    asked: HeldOut
    verdict: Verdict | None  # None: the engine read the label without asking
    response: dict[str, Any]

    @property
    def said(self) -> tuple[str, tuple[str, ...]]:
        """What a caller would act on: decision and labels."""
        return self.response["decision"], tuple(self.response["taxonomy"])


@dataclass(frozen=True, slots=True)
class Reading:
    """All answers by way of one server, in the order of the questions."""

    server: Server
    answers: list[Answer]
    seconds: float  # for all questions together


class _Unseen(Retriever):
    """Retrieval of held-out questions alone, without the vendor of each."""

    def __init__(self, retrieval: Retrieval, known: Known, asked: Sequence[HeldOut]) -> None:
        super().__init__(known.taxonomy, (), None, None)
        self._retrieval = retrieval
        self._asked = {one.question: one for one in asked}

    def features(self, question: LabelQuestion, held_out: Names = frozenset()) -> Array:
        """See Retriever."""
        return self._retrieval.features([self._asked[question]]).values[0]


class Bench:
    """What is the same for every server: questions, knowledge, retrieval and calibrator."""

    def __init__(
        self, asked: Sequence[HeldOut], calibrator: Calibrator, directory: Path = KNOWLEDGE
    ) -> None:
        """`directory`: the knowledge files. `calibrator`: fitted for the model, on any server."""
        from training.held_out.through_map import without_detectors

        self.asked = list(asked)
        self.directory = directory
        self._documents = without_detectors(directory, {one.detector for one in asked})
        everything = without_detectors(directory, ())
        self._artifacts = Artifacts.load()
        self._calibrator = calibrator
        self._known = Known(
            everything.taxonomy, {file["detector"]: file for file in everything.detectors}
        )
        folds = Folds.load(SHIPPED / "folds" / "folds.npz")
        retrieval = retrieval_of(self._artifacts, self._known, folds)
        self._retriever = _Unseen(retrieval, self._known, self.asked)

    def read(self, server: Server, chooser: Chooser) -> Reading:
        """Ask everything by way of a server whose model has said which it is."""
        from mapping.services import map_on_files
        from training.held_out.through_map import item_of

        resolver = self._resolver(chooser, 1 if server.backend == "embedded" else _TOGETHER)
        sent = {_as_sent(one): one.question for one in self.asked}
        verdicts: dict[LabelQuestion, Verdict] = {}

        def resolve(questions: Sequence[LabelQuestion]) -> Mapping[LabelQuestion, Verdict]:
            # The category stands in the detector's file, which was taken away: it is put back. A
            # label that the engine has read otherwise than it was sent is not asked about.
            known = [one for one in questions if one in sent]
            found = resolver.resolve([sent[one] for one in known], salt="bench")
            verdicts.update({one: found[sent[one]] for one in known})
            return verdicts

        started = time.perf_counter()
        responses = map_on_files(
            documents=self._documents, items=[item_of(one) for one in self.asked], resolve=resolve
        )
        seconds = time.perf_counter() - started
        answers = [
            Answer(one, verdicts.get(_as_sent(one)), response)
            for one, response in zip(self.asked, responses, strict=True)
        ]
        return Reading(server, answers, seconds)

    def _resolver(self, chooser: Chooser, together: int) -> Resolver:
        return Resolver(
            taxonomy=self._known.taxonomy,
            retriever=self._retriever,
            calibrators=(
                self._artifacts.calibrators[0],
                replace(self._calibrator, identity=chooser.identity),
            ),
            knowledge="",
            chooser=chooser,
            together=together,
            budget_seconds=float("inf"),
        )


def _as_sent(one: HeldOut) -> LabelQuestion:
    """The question as the engine makes it of what a caller sends."""
    return LabelQuestion(one.detector, one.source, one.question.description)


def figures(reading: Reading, directory: Path = KNOWLEDGE) -> dict[str, dict[str, float]]:
    """By kind of question: SHARES if it always answers, and of how many `rows`."""
    from training.held_out.through_map import share_valid

    found = {}
    for kind, belongs in _KINDS.items():
        answers = [one for one in reading.answers if belongs(one.asked)]
        pairs = [(one.asked.right, one.verdict) for one in answers if one.verdict is not None]
        if not pairs:
            continue
        names = [[name for name, _ in verdict.candidates] for _, verdict in pairs]
        right = [verdict.labels[0] in right for right, verdict in pairs]
        judged = [
            Judged(verdict.confidence, one) for one, (_, verdict) in zip(right, pairs, strict=True)
        ]
        found[kind] = {
            "rows": len(pairs),
            "accepted": statistics.fmean(right),
            "parent": statistics.fmean(parent_right(two.labels, one) for one, two in pairs),
            "hit_at_5": statistics.fmean(
                hit(ranking, one) for ranking, (one, _) in zip(names, pairs, strict=True)
            ),
            "ece": calibration_error(judged) or 0.0,
            "schema_valid": share_valid([one.response for one in answers], directory),
        }
    return found


def apart(first: Reading, other: Reading) -> dict[str, float]:
    """How far two readings of the same questions are apart, question by question.

    Shares (0 to 1) of the same first label and of the same answer of `/map`; confidences' distance.
    """
    pairs = list(zip(first.answers, other.answers, strict=True))
    asked = [(a.verdict, b.verdict) for a, b in pairs if a.verdict and b.verdict]
    gaps = [abs(a.confidence - b.confidence) for a, b in asked]
    return {
        "same_label": statistics.fmean(a.labels[0] == b.labels[0] for a, b in asked),
        "same_answer": statistics.fmean(a.said == b.said for a, b in pairs),
        "confidence_apart_mean": statistics.fmean(gaps),
        "confidence_apart_largest": max(gaps),
    }


def report(readings: Sequence[Reading], directory: Path = KNOWLEDGE) -> dict[str, Any]:
    """Of each server, and of each but the first how far it is from the first. JSON."""
    rows: list[dict[str, Any]] = []
    for reading in readings:
        verdicts = [one.verdict for one in reading.answers if one.verdict is not None]
        rows.append(
            {
                "server": reading.server.backend,
                "rows": len(reading.answers),
                "read_without_asking": len(reading.answers) - len(verdicts),
                "without_the_model": sum(one.method != "model" for one in verdicts),
                "milliseconds_a_row": round(1000 * reading.seconds / len(reading.answers), 1),
                "figures": figures(reading, directory),
            }
        )
    for row, reading in zip(rows[1:], readings[1:], strict=True):
        row["apart"] = apart(readings[0], reading)
        row["points"] = _points(rows[0]["figures"], row["figures"])
    return {"servers": rows}


def _points(first: Any, other: Any) -> dict[str, dict[str, float]]:
    """Hundredths that a share of `other` is above that of `first`."""
    return {
        kind: {name: round(100 * (other[kind][name] - first[kind][name]), 3) for name in SHARES}
        for kind in first
    }


def furthest(made: Mapping[str, Any]) -> float:
    """The largest distance of a share from the first server's, in points."""
    every = [row["points"] for row in made["servers"][1:]]
    return max(
        (abs(value) for points in every for kind in points.values() for value in kind.values()),
        default=0.0,
    )


def table(made: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown: shares in per cent, their distance in points, then row by row."""
    lines = [
        f"| server | rows | {' | '.join(name.replace('_', ' ') for name in SHARES)} |",
        "|---|---|" + "---|" * len(SHARES),
    ]
    for row in made["servers"]:
        for kind, shares in row["figures"].items():
            cells = " | ".join(f"{100 * shares[name]:.2f}" for name in SHARES)
            lines.append(f"| {row['server']}, {kind} | {shares['rows']} | {cells} |")
        for kind, points in row.get("points", {}).items():
            cells = " | ".join(f"{points[name]:+.2f}" for name in SHARES)
            lines.append(f"| {row['server']}, {kind}, points apart | | {cells} |")
    lines.append("")
    for row in made["servers"]:
        lines.append(
            f"{row['server']}: {row['milliseconds_a_row']} ms a row; {row['rows']} rows, "
            f"{row['read_without_asking']} read without asking, "
            f"{row['without_the_model']} answered without the model"
        )
        if gaps := row.get("apart"):
            lines.append(
                f"  same label {gaps['same_label']:.2%}, same answer of /map "
                f"{gaps['same_answer']:.2%}; confidence apart: mean "
                f"{gaps['confidence_apart_mean']:.4f}, largest "
                f"{gaps['confidence_apart_largest']:.4f}"
            )
    return lines


@contextmanager
def client_of(
    server: Server, model: str, adapter: str, key: str, wait_seconds: float = 0.0
) -> Iterator[HttpChooser]:
    """A client whose server has said which model it runs, waited for while it starts.

    Raises ChooserError.
    """
    latest = time.monotonic() + wait_seconds
    chooser = HttpChooser(
        InferenceOptions(
            backend=server.backend,
            url=server.url,
            model=model,
            adapter=adapter,
            api_key=key,
            timeout_seconds=_TIMEOUT_SECONDS,
            salt_key=b"bench",
        )
    )
    try:
        while True:
            try:
                chooser.check()
                break
            except ChooserError:
                if time.monotonic() >= latest:
                    raise
                time.sleep(1.0)
        yield chooser
    finally:
        chooser.close()


def main() -> int:
    """Ask, print, write JSON."""
    options = _options()
    _django()
    calibrator = Calibrator.load(options.calibrator)
    stored = load(options.dataset)
    from training.held_out.through_map import spread

    asked = held_out(stored.rows("test"), stored.taxonomy()["labels"])
    bench = Bench(spread(asked, options.rows) if options.rows else asked, calibrator)
    key = os.environ.get("PILLARS_INFERENCE_API_KEY", "")
    readings = []
    for server in options.server:
        with client_of(server, options.model, options.adapter, key, options.wait) as chooser:
            readings.append(bench.read(server, chooser))
        print(f"{server.backend}: {readings[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    made = {"data_set": stored.digest, "calibrator": calibrator.version, **report(readings)}
    options.json.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(made)))
    silent = sum(row["without_the_model"] for row in made["servers"])
    far = furthest(made)
    print(f"furthest: {far:.2f} points")
    return int(far > options.within or silent > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.servers", description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder that build_dataset wrote")
    parser.add_argument(
        "--server", type=_server, action="append", required=True, metavar="BACKEND=URL",
        help="the first one is what the others are compared with",
    )  # fmt: skip
    parser.add_argument("--model", required=True, help="name of the base model")
    parser.add_argument("--adapter", default="", help="name of the LoRA adapter")
    parser.add_argument(
        "--calibrator", type=Path, default=SHIPPED / "calibrators" / "model.json",
        help="calibrator.json of the adapter's version (default: the shipped adapter's)",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=0, help="a sample of so many; 0: all")
    parser.add_argument("--within", type=float, default=0.5, help="points (default: %(default)s)")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds for a server that starts")
    parser.add_argument("--json", type=Path, default=Path("bench-servers.json"), help="report")
    return parser.parse_args()


def _server(text: str) -> Server:
    backend, _, url = text.partition("=")
    if backend not in get_args(BackendName) or not url:
        raise argparse.ArgumentTypeError(f"{text!r}: say embedded=URL or vllm=URL")
    return Server(cast(BackendName, backend), url)


def _django() -> None:
    """What `/map` is made of knows Django's settings. No database is asked."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pillars.settings")
    django.setup()


if __name__ == "__main__":
    sys.exit(main())

"""Where a microsecond goes: each path of the engine, and the stages of an unknown label.

In one process, without web server, database and language model: python -m tests.bench.paths
"""

import argparse
import cProfile
import hashlib
import pstats
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mapping.engine import DetectorOutput, Engine, Knowledge
from mapping.engine.batch import map_all
from mapping.resolver.artifacts import Artifacts
from mapping.resolver.cache import VerdictCache
from mapping.resolver.calibrate import posterior
from mapping.resolver.resolver import Resolver, verdict_of
from mapping.resolver.retrieve import Retriever, known_labels
from mapping.resolver.texts import query_text
from mapping.resolver.types import LabelQuestion
from taxonomy.agreement import of_entry

_TEXT = (
    "toxic insult secret token email phone passport jailbreak leak prompt injection bias gender "
    "violence weapon drug fraud malware phishing grounding privacy health genetic wallet key cloud "
    "credential exec traversal deserialization agent tool misuse memory poison"
)
_WORDS = _TEXT.split()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.paths", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("pillars-detectors"))
    parser.add_argument("--edition", default="2026.11")
    parser.add_argument("--labels", type=int, default=200, help="distinct unknown labels")
    parser.add_argument("--profile", action="store_true", help="functions of an unseen label too")
    options = parser.parse_args()
    folder = options.directory
    taxonomy = yaml.safe_load((folder / "taxonomy" / f"{options.edition}.yaml").read_text("utf-8"))
    files = [yaml.safe_load(p.read_text("utf-8")) for p in sorted(folder.glob("detectors/*.yaml"))]
    engine = Engine(Knowledge.from_documents(taxonomy, files, (), ()))
    artifacts = Artifacts.load()
    retriever = Retriever(
        taxonomy, known_labels(files, of_entry), artifacts.encoder, artifacts.glossary
    )
    resolver = Resolver(
        taxonomy=taxonomy,
        retriever=retriever,
        calibrators=artifacts.calibrators,
        knowledge="bench",
        cache=VerdictCache(b"bench"),
    )
    outputs = [_output(number) for number in range(options.labels)]
    known = DetectorOutput(
        "presidio", [{"entity_type": "US_SSN", "start": 0, "end": 9, "score": 1}]
    )
    # Arrays of the lexical index are packed when they are first needed.
    _map(engine, resolver, [_output(number + 40_000) for number in range(options.labels)])
    rows = [
        ("rule", _each(lambda: engine.map(known, _hash), 2_000)),
        ("unknown label, rules only", _over(lambda o: engine.map(o, _hash), outputs)),
        ("unknown label, retrieval", _over(lambda o: _map(engine, resolver, [o]), outputs)),
        ("unknown label, cached", _over(lambda o: _map(engine, resolver, [o]), outputs)),
    ]
    fresh = [_output(number + 10_000) for number in range(options.labels)]
    started = time.perf_counter()
    _map(engine, resolver, fresh)
    rows.append(("the same, each in a batch", (time.perf_counter() - started) / len(fresh)))
    rows += _stages(resolver, retriever, artifacts, options.labels)
    for name, seconds in rows:
        print(f"| {name} | {seconds * 1e6:,.0f} | {seconds / rows[0][1]:,.0f} |")
    if options.profile:
        profile = cProfile.Profile()
        more = [_output(number + 20_000) for number in range(options.labels)]
        profile.runcall(_map, engine, resolver, more)
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)


def _hash(_text: str) -> str:
    return "0" * 32


def _map(engine: Engine, resolver: Resolver, outputs: Sequence[DetectorOutput]) -> Any:
    return map_all(engine, outputs, _hash, resolve=resolver.resolve)


def _label(number: int) -> str:
    """Two words and a number: never seen, and near something."""
    first, second = (int(h, 16) % len(_WORDS) for h in _halves(number))
    return f"{_WORDS[first]}_{_WORDS[second]}_{number}"


def _halves(number: int) -> tuple[str, str]:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return digest[:8], digest[8:16]


def _output(number: int) -> DetectorOutput:
    label = _label(number)
    words = " ".join(_WORDS[(number * 7 + step * 5) % len(_WORDS)] for step in range(9))
    return DetectorOutput("bench-guard", label, label_descriptions={label: words})


def _each(call: Callable[[], Any], times: int) -> float:
    """Median seconds of one call."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _over(call: Callable[[DetectorOutput], Any], outputs: Sequence[DetectorOutput]) -> float:
    taken = []
    for output in outputs:
        started = time.perf_counter()
        call(output)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _stages(
    resolver: Resolver, retriever: Retriever, artifacts: Artifacts, count: int
) -> list[tuple[str, float]]:
    questions = []
    for number in range(30_000, 30_000 + count):
        output = _output(number)
        words = (output.label_descriptions or {})[str(output.output)]
        questions.append(LabelQuestion("bench-guard", str(output.output), words))
    calibrator = resolver.calibrator()
    features = [retriever.features(one) for one in questions]
    alone = Retriever.__new__(Retriever)
    alone.__dict__.update(retriever.__dict__, _encoder=None)
    timed: list[tuple[str, Callable[[int], Any]]] = [
        ("of it: encoder", lambda n: artifacts.encoder.encode([query_text(questions[n])])),
        ("of it: lexical and spellings", lambda n: alone.features(questions[n])),
        ("of it: posterior", lambda n: posterior(features[n], calibrator.described.features)),
        (
            "of it: posterior, confidence and sets",
            lambda n: verdict_of(resolver.names, features[n], None, calibrator, True),
        ),
    ]
    found = []
    for name, call in timed:
        taken = []
        for number in range(count):
            started = time.perf_counter()
            call(number)
            taken.append(time.perf_counter() - started)
        found.append((name, float(np.median(taken))))
    return found


if __name__ == "__main__":
    main()

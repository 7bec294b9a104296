"""`python -m tests.bench.quantized`: what fewer bits cost, and what they bring.

The same questions to the same adapter under each server: the embedded worker in every precision,
and llama.cpp's server (`--llama-server`, with `--gguf` for each base and `--lora` for an adapter as
GGUF, see training.quantize), all through the client that Pillars uses. The questions are labels of
the shipped detector files with the shortlists of encoders that had not seen them. The shipped
adapter has learnt from these labels: what counts is the difference between two rows, not a row.
"""

import argparse
import math
import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from deploy.local.inference import adapter_dir
from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY
from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.folds import Folds
from mapping.inference import HttpChooser, InferenceOptions
from mapping.inference.options import BackendName
from mapping.resolver.artifacts import SHIPPED
from mapping.resolver.prompt import options_for
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, Choice, LabelQuestion, Option
from mapping.worker.weights import packaged_base
from tests.worker.running import KEY, RunningWorker

_START_SECONDS = 300.0
_OUTCOMES = {"OTHER.Safe": NOT_A_FINDING, "OTHER.Unknown": NONE_OF_THESE, "unmapped": NONE_OF_THESE}


class Asked(NamedTuple):
    """A question with what is right."""

    question: LabelQuestion
    options: list[Option]
    right: frozenset[str]


class Row(NamedTuple):
    """What a server made of the questions."""

    name: str
    choices: list[Choice]
    seconds: list[float]
    memory_mb: int
    size_mb: int


def main() -> None:
    """Ask each; print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.quantized", description=__doc__)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--precisions", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--gguf", type=Path, nargs="*", default=[], help="base or merged models")
    parser.add_argument("--lora", type=Path, help="the adapter as GGUF, for models without it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache-dir", type=Path, default=REPOSITORY / ".pillars" / "models")
    options = parser.parse_args()
    asked = questions(options.questions)
    rows = [embedded(options, precision, asked) for precision in options.precisions]
    rows += [llama(options, file, asked) for file in options.gguf]
    print(f"{len(asked)} questions, {options.threads} threads; apart: from the first row\n")
    print(
        "| server | MB of weights | MB of memory | right | as the first | apart | p50 ms | p95 ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(line(row, rows[0], asked))


def line(row: Row, first: Row, asked: Sequence[Asked]) -> str:
    """Of the table. Apart: mean distance of log-probabilities of options over 5 %."""
    count = len(asked)
    right = sum(best(choice) in one.right for choice, one in zip(row.choices, asked, strict=True))
    same = sum(best(a) == best(b) for a, b in zip(row.choices, first.choices, strict=True))
    gaps = [
        abs(value - b.log_probs[name])
        for a, b in zip(first.choices, row.choices, strict=True)
        for name, value in a.log_probs.items()
        if value > math.log(0.05)
    ]
    times = sorted(row.seconds)
    cells = [
        row.name, str(row.size_mb), str(row.memory_mb), f"{right / count:.1%}",
        f"{same / count:.1%}", f"{sum(gaps) / len(gaps):.3f}",
        f"{times[count // 2] * 1000:.0f}", f"{times[int(count * 0.95)] * 1000:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def best(choice: Choice) -> str:
    """The likeliest option."""
    return max(choice.log_probs, key=choice.log_probs.__getitem__)


def embedded(options: argparse.Namespace, precision: str, asked: Sequence[Asked]) -> Row:
    """Our own worker in a precision."""
    base = packaged_base(options.cache_dir)
    adapter = adapter_dir({})
    assert adapter is not None, "No adapter is shipped."
    worker = RunningWorker(
        "--model-dir", str(base.folder), "--adapter", str(adapter), "--precision", precision,
        "--threads", str(options.threads),
    ).start()  # fmt: skip
    try:
        assert worker.process is not None
        chooser = chooser_for("embedded", worker.url, base.name, adapter.name)
        size = sum(file.stat().st_size for file in base.folder.glob("*.safetensors"))
        return measured(f"embedded, {precision}", chooser, asked, worker.process.pid, size)
    finally:
        worker.stop()


def llama(options: argparse.Namespace, file: Path, asked: Sequence[Asked]) -> Row:
    """llama.cpp's server with one file; the adapter beside it unless it is merged into it."""
    lora = None if "merged" in file.name else options.lora
    with llama_server(options.llama_server, file, lora, options.threads) as (url, process):
        chooser = chooser_for("llamacpp", url, "base", lora.stem if lora else "")
        name = f"llama.cpp, {file.stem}"
        return measured(name, chooser, asked, process, file.stat().st_size)


@contextmanager
def llama_server(
    binary: Path, file: Path, lora: Path | None, threads: int = 2
) -> Iterator[tuple[str, int]]:
    """A running server of llama.cpp: its address and process."""
    port = random_port()
    command = [
        str(binary), "-m", str(file), "--alias", "base", "--host", "127.0.0.1",
        "--port", str(port), "--api-key", KEY, "-c", "4096", "--parallel", "1",
        "--threads", str(threads),
    ]  # fmt: skip
    if lora:
        command += ["--lora", str(lora)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(
            lambda: ready(url, lora) or process.poll() is not None, _START_SECONDS, pause=0.2
        )
        assert process.poll() is None, f"{binary} has ended: {process.returncode}"
        yield url, process.pid
    finally:
        process.kill()
        process.wait()


def ready(url: str, lora: Path | None) -> bool:
    """Whether the client finds the model it wants."""
    chooser = chooser_for("llamacpp", url, "base", lora.stem if lora else "")
    try:
        chooser.check()
    except RuntimeError:
        return False
    finally:
        chooser.close()
    return True


def chooser_for(backend: BackendName, url: str, model: str, adapter: str) -> HttpChooser:
    """Our client, patient enough for a slow machine."""
    return HttpChooser(
        InferenceOptions(
            backend=backend, url=url, model=model, adapter=adapter, api_key=KEY,
            timeout_seconds=60, breaker_failures=1000, salt_key=b"k",
        )
    )  # fmt: skip


def measured(
    name: str, chooser: HttpChooser, asked: Sequence[Asked], process: int, size: int
) -> Row:
    """Ask one after another."""
    choices, seconds = [], []
    for one in asked:
        started = time.perf_counter()
        choices += chooser.choose([(one.question, one.options)], salt="bench")
        seconds.append(time.perf_counter() - started)
    chooser.close()
    print(f"{name}: done", flush=True)
    return Row(name, choices, seconds, memory_of(process), size // 1_000_000)


def memory_of(process: int) -> int:
    """Resident set in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def questions(count: int) -> list[Asked]:
    """Labels of the detector files, described, with shortlists of the folds."""
    folder = REPOSITORY / "pillars-detectors"
    taxonomy = yaml.safe_load((folder / "taxonomy" / "2026.11.yaml").read_text("utf-8"))
    files = [yaml.safe_load(p.read_text("utf-8")) for p in sorted(folder.glob("detectors/*.yaml"))]
    folds = Folds.load(SHIPPED / "folds" / "folds.npz")
    found = []
    for case in random.Random(7).sample(leave_one_out(files), count):
        asked = case.question
        names = [str(folds.names[int(number)]) for number in folds.of("shortlists", asked)]
        question = LabelQuestion(
            asked.detector, str(asked.output), asked.description, asked.category or ""
        )
        right = frozenset(_OUTCOMES.get(name, name) for name in case.expected)
        found.append(Asked(question, options_for(names, taxonomy), right))
    return found


if __name__ == "__main__":
    main()

"""Folds of the chooser: every vendor's labels by an adapter that never saw the vendor."""

import hashlib
import json
import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.multiprocessing as processes

from training.encoder import data
from training.encoder.data import Example
from training.lora.model import load, plain, with_adapter
from training.lora.train import MAX_SLOTS, Array, Profile, prompts_of, read, train

FOLDS = 5
EVERYTHING = -1  # the fold that holds nothing out


def fold_of(example: Example) -> int:
    """All detectors of a vendor fall into one fold."""
    name = example.vendor or example.detector
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % FOLDS


class Material:
    """What a step needs of the folder DATA."""

    def __init__(self, folder: Path) -> None:
        self.dataset = data.read(folder / "dataset.json")
        self.taxonomy = json.loads((folder / "taxonomy.json").read_text("utf-8"))
        answers = list(self.dataset.texts)
        everything = [*self.dataset.examples, *self.dataset.aliases]
        pools = np.load(folder / "pools.npy")
        self.pairs = [
            (one, [answers[n] for n in row]) for one, row in zip(everything, pools, strict=True)
        ]
        lists = np.load(folder / "shortlists.npy")
        self.shortlists = [[[answers[n] for n in row] for row in both] for both in lists]

    def read(self, tokenizer: Any, model: Any, rows: Sequence[int]) -> Array:
        """Letters' log-probabilities: rows x variants (described, label alone) x letters."""
        found = np.full((len(rows), 2, MAX_SLOTS), np.nan, dtype=np.float32)
        examples = [self.dataset.examples[row] for row in rows]
        for variant, described in enumerate((True, False)):
            lists = [self.shortlists[row][variant] for row in rows]
            prompts = prompts_of(examples, lists, self.taxonomy, described)
            found[:, variant] = read(tokenizer, model, prompts)
        return found


class Task(NamedTuple):
    """What a worker process needs to know."""

    data: Path
    base: Path
    out: Path
    profile: Profile


def device() -> str:
    """Of this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)  # noqa: T201 - a command line


def reporter(name: str) -> Callable[[int, int, float, float], None]:
    """Prints what `train` reports."""
    return lambda step, steps, loss, rate: say(
        f"{name}: step {step}/{steps}, loss {loss:.3f}, {rate:,.0f} tokens/s"
    )


def _work(task: Task, tasks: Any, done: Any) -> None:
    torch.set_num_threads(2)
    known = Material(task.data)
    tokenizer, model = load(task.base, device())
    base = plain(model)
    while (fold := tasks.get()) is not None:
        adapted = with_adapter(base, task.profile.seed)
        pairs = [pair for pair in known.pairs if fold == EVERYTHING or fold_of(pair[0]) != fold]
        train(tokenizer, adapted, pairs, known.taxonomy, task.profile, reporter(f"fold {fold}"))
        if fold == EVERYTHING:
            adapted.save_pretrained(task.out / "adapter")
            done.put((fold, [], np.empty(0)))
        else:
            rows = [n for n, one in enumerate(known.dataset.examples) if fold_of(one) == fold]
            done.put((fold, rows, known.read(tokenizer, adapted, rows)))
        base = adapted.unload()


def run(task: Task, workers: int) -> Iterator[tuple[int, list[int], Array]]:
    """Each fold's rows and scores as they come; EVERYTHING saves the adapter and scores nothing.

    RuntimeError if the workers end before all is done.
    """
    context = processes.get_context("spawn")
    tasks, done = context.Queue(), context.Queue()
    order = [EVERYTHING, *range(FOLDS)]
    for fold in (*order, *[None] * workers):
        tasks.put(fold)
    team = [
        context.Process(target=_work, args=(task, tasks, done), daemon=True) for _ in range(workers)
    ]
    for worker in team:
        worker.start()
    for _ in order:
        while True:
            try:
                yield done.get(timeout=5)
                break
            except queue.Empty:
                if not any(worker.is_alive() for worker in team):
                    raise RuntimeError("The workers have ended: see what they wrote.") from None

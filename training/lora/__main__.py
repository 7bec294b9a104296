"""``python -m training.lora STEP``: folds, final. DATA holds dataset.json and taxonomy.json.

Beside them: pools.npy (examples x answers, nearest first, of an encoder that was trained on
nothing), shortlists.npy (examples x variants x 8, of the out-of-fold encoder).
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as processes

from training.encoder import data
from training.encoder.data import Example
from training.lora.model import load, plain, with_adapter
from training.lora.train import MAX_SLOTS, Profile, prompts_of, read, train

FOLDS = 5


def main() -> None:
    """Parse the command line and run the step."""
    parser = argparse.ArgumentParser(prog="python -m training.lora", description=__doc__)
    parser.add_argument("step", choices=("folds", "final", "zero-shot"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="folder or .gguf file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=Profile().epochs)
    parser.add_argument("--seed", type=int, default=Profile().seed)
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    {"folds": _folds, "final": _final, "zero-shot": _zero_shot}[options.step](options)


def fold_of(example: Example) -> int:
    """All detectors of a vendor fall into one fold."""
    name = example.vendor or example.detector
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % FOLDS


class _Data:
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

    def read(self, tokenizer: Any, model: Any, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        found = np.full((len(rows), 2, MAX_SLOTS), np.nan, dtype=np.float32)
        examples = [self.dataset.examples[row] for row in rows]
        for variant, described in enumerate((True, False)):
            lists = [self.shortlists[row][variant] for row in rows]
            prompts = prompts_of(examples, lists, self.taxonomy, described)
            found[:, variant] = read(tokenizer, model, prompts)
        return found


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _profile(options: argparse.Namespace) -> Profile:
    return replace(Profile(), epochs=options.epochs, seed=options.seed)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command line


def _progress(name: str) -> Any:
    return lambda step, steps, loss, rate: _say(
        f"{name}: step {step}/{steps}, loss {loss:.3f}, {rate:,.0f} tokens/s"
    )


def _work(options: argparse.Namespace, tasks: Any, done: Any) -> None:
    torch.set_num_threads(2)
    known = _Data(options.data)
    tokenizer, model = load(options.base, _device())
    base = plain(model)
    while (fold := tasks.get()) is not None:
        adapted = with_adapter(base, options.seed)
        pairs = [pair for pair in known.pairs if fold < 0 or fold_of(pair[0]) != fold]
        train(tokenizer, adapted, pairs, known.taxonomy, _profile(options), _progress(f"{fold}"))
        if fold < 0:
            adapted.save_pretrained(options.out / "adapter")
            done.put((fold, [], np.empty(0)))
        else:
            rows = [n for n, one in enumerate(known.dataset.examples) if fold_of(one) == fold]
            done.put((fold, rows, known.read(tokenizer, adapted, rows)))
        base = adapted.unload()


def _folds(options: argparse.Namespace) -> None:
    """Every fold, and the adapter that learns from all (fold -1), by processes of their own."""
    known = _Data(options.data)
    started = time.monotonic()
    context = processes.get_context("spawn")
    tasks, done = context.Queue(), context.Queue()
    order = [-1, *range(FOLDS)]
    for fold in (*order, *[None] * options.workers):
        tasks.put(fold)
    team = [
        context.Process(target=_work, args=(options, tasks, done), daemon=True)
        for _ in range(options.workers)
    ]
    for worker in team:
        worker.start()
    scores = np.full((len(known.dataset.examples), 2, MAX_SLOTS), np.nan, dtype=np.float32)
    for _ in order:
        fold, rows, found = done.get(timeout=570)
        _say(f"fold {fold} done after {time.monotonic() - started:.0f} s")
        if fold >= 0:
            scores[rows] = found
            np.save(options.out / "letters.npy", scores)
    facts = {
        "dataset": known.dataset.digest,
        "profile": asdict(_profile(options)),
        "seconds": round(time.monotonic() - started, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    (options.out / "lora.json").write_text(json.dumps(facts, indent=2) + "\n")


def _final(options: argparse.Namespace) -> None:
    """The adapter alone, in this process."""
    known = _Data(options.data)
    tokenizer, model = load(options.base, _device())
    adapted = with_adapter(plain(model), options.seed)
    train(tokenizer, adapted, known.pairs, known.taxonomy, _profile(options), _progress("final"))
    adapted.save_pretrained(options.out / "adapter")


def _zero_shot(options: argparse.Namespace) -> None:
    """What the base model answers without any training."""
    known = _Data(options.data)
    tokenizer, model = load(options.base, _device())
    scores = known.read(tokenizer, plain(model), range(len(known.dataset.examples)))
    np.save(options.out / "zero-shot.npy", scores)


if __name__ == "__main__":
    main()

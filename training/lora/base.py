"""The base model: checked before anything long begins, then loaded with a new adapter."""

import importlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mapping.worker.weights import (
    Base,
    WeightsError,
    base_in,
    check_memory,
    converted_base,
    packaged_base,
)
from training.lora.profiles import Profile
from training.lora.refusals import Refused

PACKAGED: Final = "packaged"
DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_HEADER_BYTES: Final = 8
_MOST_HEADER_BYTES: Final = 100 << 20
# Of memory, that activations may take before they are computed again instead of kept.
_MOST_OF_MEMORY: Final = 0.85


def find(name: str, cache: Path) -> Base:
    """A folder; a .gguf file, or `packaged`, converted into `cache`. Raises Refused."""
    path = Path(name)
    try:
        if name == PACKAGED:
            return packaged_base(cache)
        if path.is_file() and path.suffix == ".gguf":
            return converted_base(path, cache, path.name.split(".")[0])
        check_files(path)
        return base_in(path)
    except WeightsError as error:
        raise Refused(str(error)) from None


def check_files(folder: Path) -> None:
    """Refuse a folder whose weights are not whole: missing, cut short, or no safetensors."""
    config = folder / "config.json"
    if not config.is_file():
        raise Refused(f"{folder} holds no model: there is no config.json.")
    _json(config)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
        files = [folder / Path(str(name)).name for name in names]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise Refused(f"{folder} holds no weights: there is no .safetensors file.")
    for file in files:
        _check_safetensors(file)


def _check_safetensors(path: Path) -> None:
    damaged = f"{path} is damaged or cut short: copy the base model again."
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_BYTES), "little")
            if not 0 < length <= min(size, _MOST_HEADER_BYTES):
                raise Refused(damaged)
            header = json.loads(file.read(length))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
    except OSError:
        raise Refused(f"{path} cannot be read: copy the base model again.") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise Refused(damaged) from None
    if not ends or size != _HEADER_BYTES + length + max(ends):
        raise Refused(damaged)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise Refused(f"{path} is no JSON object.")
    return content


def config_of(base: Base) -> Any:
    """The model's configuration. Raises Refused for one that no known model has."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{base.folder / 'config.json'} cannot be used: {error}") from None


def adapter_parameters(config: Any, rank: int) -> int:
    """Of an adapter on every linear layer of a Llama-shaped model."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    hidden, inner = config.hidden_size, config.intermediate_size
    sums = [hidden + queries, hidden + keys, hidden + keys, queries + hidden]
    sums += [hidden + inner, hidden + inner, inner + hidden]
    return int(config.num_hidden_layers * rank * sum(sums))


def load(base: Base, profile: Profile, device: torch.device) -> Any:
    """The base model, frozen, on `device`. Raises Refused if its weights are not usable."""
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": DTYPES[profile.precision]}
    if profile.load_in_8bit:
        options |= {"quantization_config": _eight_bits(), "device_map": {"": device}}
    elif device.type == "cpu":
        try:
            check_memory(base)
        except WeightsError as error:
            raise Refused(str(error)) from None
    try:
        model, facts = AutoModelForCausalLM.from_pretrained(
            base.folder,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise Refused(f"{base.name} does not fit into the memory of {device}.") from None
        raise Refused(f"The weights in {base.folder} cannot be loaded: {error}") from None
    missing = sorted(facts["missing_keys"]) + sorted(map(str, facts["mismatched_keys"]))
    if missing:
        raise Refused(
            f"The weights in {base.folder} do not fit its config.json: {missing[0]} is missing or "
            f"of another shape, as are {len(missing) - 1} more."
        )
    if not profile.load_in_8bit:
        model = model.to(device)
    check_finite(base, model.named_parameters())
    model.config.use_cache = False
    for weight in model.parameters():
        weight.requires_grad_(False)
    return model


def check_finite(base: Base, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that are no numbers: a file damaged without a change of its size."""
    for name, weight in weights:
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise Refused(
                f"The weights in {base.folder} are damaged: {name} holds values that are no "
                "numbers."
            )


def _eight_bits() -> Any:
    try:
        importlib.import_module("bitsandbytes")  # transformers says less clearly that it lacks
    except ImportError:
        raise Refused(
            "load_in_8bit needs the package bitsandbytes: pip install bitsandbytes, or set "
            "load_in_8bit=false."
        ) from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def with_adapter(model: Any, profile: Profile) -> Any:
    """A new adapter on every linear layer; the same seed gives the same one. float32."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(profile.seed)
    config = LoraConfig(
        r=profile.rank, lora_alpha=_whole(profile.alpha), lora_dropout=profile.dropout,
        target_modules=profile.targets, use_rslora=profile.rslora, task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def _whole(number: float) -> float:
    """32 rather than 32.0: servers read it as an integer."""
    return int(number) if number == int(number) else number


def activation_bytes(config: Any, tokens: int, bytes_a_number: int) -> int:
    """What one pass keeps for its backward, about: measured at 8 MB a token of the 8B shape."""
    a_layer = 5 * config.intermediate_size + 12 * config.hidden_size
    return int(tokens * config.num_hidden_layers * a_layer * bytes_a_number)


def needs_checkpointing(config: Any, profile: Profile, device: torch.device) -> bool:
    """Whether activations must be computed again in the backward for want of memory."""
    if profile.gradient_checkpointing != "auto":
        return profile.gradient_checkpointing == "on"
    size = 4 if profile.precision == "fp32" else 2
    if device.type == "cuda":
        free: float = torch.cuda.mem_get_info(device)[0]
    else:
        free = _available()
    return activation_bytes(config, profile.batch_tokens, size) > _MOST_OF_MEMORY * free


def _available() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return math.inf


def inner(model: Any) -> nn.Module:
    """The causal language model inside a PEFT model."""
    module: nn.Module = model.get_base_model()
    return module

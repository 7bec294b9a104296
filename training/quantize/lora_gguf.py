"""A LoRA adapter of PEFT as the GGUF file that llama.cpp's server reads (`--lora`).

The base model may then be served in any of llama.cpp's quantizations: the adapter stays as it is.

Two things differ between the two worlds. llama.cpp rotates query and key heads over neighbouring
numbers, transformers over the two halves of a head, so that the rows of q_proj and k_proj are
stored in another order there. And llama.cpp scales by alpha / rank alone: for an adapter with rank
stabilisation (alpha / sqrt(rank), Kalajdzievski 2023) the file gets an alpha that gives the same.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

_KEY = re.compile(
    r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight"
)
_PLACES: Final = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


class ConversionError(ValueError):
    """An adapter that cannot be converted. The message says why."""


class Heads(NamedTuple):
    """Attention heads of the base model."""

    queries: int
    keys: int

    @classmethod
    def of(cls, base: Path) -> "Heads":
        """From config.json in the base model's folder. Raises ConversionError."""
        try:
            config = json.loads((base / "config.json").read_text("utf-8"))
            queries = int(config["num_attention_heads"])
            keys = int(config.get("num_key_value_heads") or queries)
        except (OSError, ValueError, KeyError, TypeError):
            raise ConversionError(
                f"{base}: config.json does not say how many heads there are. Name the folder of "
                "the base model as transformers saves it."
            ) from None
        if config.get("model_type") != "llama":
            raise ConversionError(
                f"{base} is a {config.get('model_type')!r} model: only Llama's layers are known."
            )
        return cls(queries, keys)


def convert(adapter: Path, base: Path, out: Path) -> int:
    """Write `out`; returns the number of tensors. Raises ConversionError, and leaves no file then.

    `adapter`: folder with adapter_config.json and adapter_model.safetensors. `base`: folder of the
    model that it was trained on.
    """
    heads = Heads.of(base)
    alpha = _alpha(adapter)
    tensors = _tensors(adapter, heads)
    scratch = out.with_name(f".{out.name}.part")
    try:
        _write(scratch, alpha, tensors)
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)
    return len(tensors)


def _alpha(adapter: Path) -> float:
    try:
        config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConversionError(
            f"{adapter}: adapter_config.json is missing or states no rank and alpha."
        ) from None
    if config.get("use_dora") or config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ConversionError(f"{adapter}: llama.cpp reads plain LoRA of one rank alone.")
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _tensors(adapter: Path, heads: Heads) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded = load_file(adapter / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ConversionError(
            f"{adapter}: adapter_model.safetensors cannot be read ({type(error).__name__})."
        ) from None
    found: dict[str, Array] = {}
    for key, tensor in loaded.items():
        name, rows = _placed(key, tensor.float().numpy(), heads)
        found[name] = np.ascontiguousarray(rows, dtype=np.float32)
    if not found:
        raise ConversionError(f"{adapter}: adapter_model.safetensors holds no tensors.")
    return found


def _placed(key: str, tensor: Array, heads: Heads) -> tuple[str, Array]:
    match = _KEY.fullmatch(key)
    if match is None or match[2] not in _PLACES:
        raise ConversionError(f"{key}: llama.cpp knows no place for this tensor.")
    layer, projection, side = match.groups()
    if side == "B" and projection in ("q_proj", "k_proj"):
        tensor = _neighbours(tensor, heads.queries if projection == "q_proj" else heads.keys)
    return f"blk.{layer}.{_PLACES[projection]}.weight.lora_{side.lower()}", tensor


def _neighbours(rows: Array, heads: int) -> Array:
    """Rows of each head so that the two of a rotation stand side by side."""
    if len(rows) % (2 * heads):
        raise ConversionError("The adapter's rows do not divide into the base model's heads.")
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _write(path: Path, alpha: float, tensors: dict[str, Array]) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

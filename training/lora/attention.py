"""Attention over packed rows: a token sees its own sample alone, back to that sample's beginning.

Three ways that mean the same:

- sdpa: torch's scaled_dot_product_attention with an explicit mask. Runs everywhere.
- flex: torch's flex_attention, whose mask is a function of the samples' numbers. CUDA, compiled.
- varlen: samples laid end to end with their bounds, so nothing is computed for pairs of samples.
  On CUDA torch's own flash-attention kernel; elsewhere one causal call a sample.
"""

import functools
import inspect
import itertools
from typing import Any, Final

import torch
import torch.nn.functional as functional
from torch import Tensor

VARLEN: Final = "pillars_varlen"
FLEX: Final = "pillars_flex"
SDPA: Final = "sdpa"
_NAMES: Final = {"sdpa": SDPA, "flex": FLEX, "varlen": VARLEN}


def register() -> None:
    """Make the names known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(VARLEN, _varlen_attention)
    AttentionInterface.register(FLEX, _flex_attention)


def use(model: Any, kind: str) -> None:
    """Let a model of transformers attend this way. `kind`: sdpa, flex or varlen."""
    register()
    model.config._attn_implementation = _NAMES[kind]


def chosen(
    wanted: str, device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int]
) -> str:
    """What `auto` stands for here. `heads`: of queries, of keys, and the size of one.

    varlen, unless a GPU has no kernel for it that gives what the explicit mask gives.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cuda" or agrees(device, dtype, heads):
        return "varlen"
    return "sdpa"


@torch.no_grad()
def _small(heads: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    queries, keys, size = heads
    maker = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, count, 64, size, generator=maker).to(device, dtype)
        for count in (queries, keys, keys)
    ]


def agrees(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int]) -> bool:
    """Whether varlen gives what sdpa gives on this device, forward and backward."""
    if dtype not in (torch.bfloat16, torch.float16) and device.type == "cuda":
        return False
    bounds = torch.tensor([0, 40, 64], dtype=torch.int32, device=device)
    owners = torch.zeros(1, 64, dtype=torch.int32, device=device)
    owners[:, 40:] = 1
    results = []
    try:
        for mask, kind in ((block_mask(owners), "sdpa"), (None, "varlen")):
            q, k, v = (one.requires_grad_() for one in _small(heads, device, dtype))
            if kind == "sdpa":
                out = functional.scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, enable_gqa=True
                ).transpose(1, 2)
            else:
                out, _ = _varlen_attention(None, q, k, v, None, bounds=bounds, longest=64)
            out.float().pow(2).sum().backward()
            results.append([out.float(), *[one.grad.float() for one in (q, k, v)]])
    except (RuntimeError, NotImplementedError, TypeError, ImportError):
        return False
    return all(
        bool(((one - other).norm() / one.norm()) < 0.03)
        for one, other in zip(*results, strict=True)
    )


def block_mask(owners: Tensor) -> Tensor:
    """Rows x 1 x length x length, true where a token may look. `owners`: rows x length."""
    length = owners.shape[1]
    same = owners[:, :, None] == owners[:, None, :]
    return (same & torch.ones(length, length, dtype=torch.bool, device=owners.device).tril())[
        :, None
    ]


def flex_mask(owners: Tensor) -> Any:
    """The same as torch's BlockMask."""
    from torch.nn.attention.flex_attention import create_block_mask

    def looks(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (owners[row, query] == owners[row, key]) & (query >= key)

    rows, length = owners.shape
    return create_block_mask(looks, rows, None, length, length, device=str(owners.device))


def inputs(kind: str, owners: Tensor, bounds: Tensor, longest: int) -> dict[str, Any]:
    """What a model's forward needs beside ids and positions. `longest`: tokens of any sample."""
    if kind == "varlen":
        return {"attention_mask": None, "bounds": bounds, "longest": longest}
    return {"attention_mask": flex_mask(owners) if kind == "flex" else block_mask(owners)}


def _varlen_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """Rows x heads x length x size in, rows x length x heads x size out."""
    bounds, longest = options["bounds"], options["longest"]
    scale = options.get("scaling")
    if query.is_cuda:
        rows, heads, length, size = query.shape
        flat = [
            one.transpose(1, 2).reshape(rows * length, one.shape[1], size)
            for one in (query, key, value)
        ]
        out = _kernel()(*flat, bounds, bounds, longest, longest, scale=scale, window_size=(-1, 0))
        return out.view(rows, length, heads, size), None
    return _by_sample(query, key, value, bounds, scale), None


@functools.cache
def _kernel() -> Any:
    """torch's kernel; newer ones want to be told that keys have fewer heads than queries."""
    from torch.nn.attention.varlen import varlen_attn

    if "enable_gqa" in inspect.signature(varlen_attn).parameters:
        return functools.partial(varlen_attn, enable_gqa=True)
    return varlen_attn


def _by_sample(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float | None
) -> Tensor:
    length = query.shape[2]
    edges = bounds.tolist()
    rows: list[list[Tensor]] = [[] for _ in range(query.shape[0])]
    for begin, end in itertools.pairwise(edges):
        if begin == end:
            continue
        row, at = divmod(begin, length)
        part = slice(at, at + end - begin)
        rows[row].append(
            functional.scaled_dot_product_attention(
                query[row : row + 1, :, part], key[row : row + 1, :, part],
                value[row : row + 1, :, part], is_causal=True, scale=scale, enable_gqa=True,
            )
        )  # fmt: skip
    return torch.cat([torch.cat(parts, dim=2) for parts in rows]).transpose(1, 2)


@functools.cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Uncompiled it would build the whole matrix of scores. Inside compiled layers it is traced.
    return torch.compile(flex_attention, dynamic=False)


def _flex_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    from torch.nn.attention.flex_attention import flex_attention

    call = flex_attention if torch.compiler.is_compiling() else _flex()
    out = call(
        query, key, value, block_mask=attention_mask, scale=options.get("scaling"), enable_gqa=True
    )
    return out.transpose(1, 2), None

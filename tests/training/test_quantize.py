"""Adapters as llama.cpp reads them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import save_file

from training.quantize.lora_gguf import ConversionError, convert

HEADS, KEY_HEADS, WIDTH, RANK = 4, 2, 32, 4
HEAD = WIDTH // HEADS


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base model's folder, as far as it is read."""
    folder = tmp_path / "base"
    folder.mkdir()
    config = {"model_type": "llama", "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def an_adapter(folder: Path, weights: dict[str, torch.Tensor], **more: object) -> Path:
    """As PEFT writes it."""
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"r": RANK, "lora_alpha": 8, "use_rslora": True, **more}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def place(rest: str) -> str:
    return f"base_model.model.model.layers.3.{rest}.weight"


def test_rows_of_rotated_heads_stand_side_by_side(tmp_path: Path, base: Path) -> None:
    rows = torch.arange(WIDTH * RANK, dtype=torch.float32).reshape(WIDTH, RANK)
    keys = torch.arange(KEY_HEADS * HEAD * RANK, dtype=torch.float32).reshape(-1, RANK)
    adapter = an_adapter(
        tmp_path / "adapter",
        {
            place("self_attn.q_proj.lora_A"): torch.ones(RANK, WIDTH),
            place("self_attn.q_proj.lora_B"): rows,
            place("self_attn.k_proj.lora_B"): keys,
            place("mlp.down_proj.lora_B"): rows.clone(),
        },
    )
    out = tmp_path / "adapter.gguf"
    assert convert(adapter, base, out) == 4
    reader = GGUFReader(str(out))
    found = {one.name: np.array(one.data) for one in reader.tensors}
    for name, source, heads in (("attn_q", rows, HEADS), ("attn_k", keys, KEY_HEADS)):
        written = found[f"blk.3.{name}.weight.lora_b"]
        for head in range(heads):
            for number in range(HEAD // 2):
                first = head * HEAD + number
                at = head * HEAD + 2 * number
                assert (written[at] == source[first].numpy()).all()
                assert (written[at + 1] == source[first + HEAD // 2].numpy()).all()
    assert (found["blk.3.ffn_down.weight.lora_b"] == rows.numpy()).all()
    assert found["blk.3.attn_q.weight.lora_a"].shape == (RANK, WIDTH)
    # llama.cpp scales by alpha / rank: here that must be 8 / sqrt(4).
    alpha = reader.fields["adapter.lora.alpha"].contents()
    assert alpha / RANK == pytest.approx(8 / 2)


@pytest.mark.parametrize(
    ("weights", "more", "says"),
    [
        ({"base_model.model.lm_head.lora_A.weight": torch.ones(2, 2)}, {}, "knows no place"),
        ({place("self_attn.q_proj.lora_B"): torch.ones(6, 2)}, {}, "do not divide"),
        ({place("self_attn.o_proj.lora_B"): torch.ones(4, 2)}, {"use_dora": True}, "plain LoRA"),
        ({place("self_attn.o_proj.lora_B"): torch.ones(4, 2)}, {"r": None}, "no rank"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(
    tmp_path: Path, base: Path, weights: dict[str, torch.Tensor], more: dict[str, object], says: str
) -> None:
    adapter = an_adapter(tmp_path / "adapter", weights, **more)
    out = tmp_path / "out" / "adapter.gguf"
    out.parent.mkdir()
    with pytest.raises(ConversionError, match=says):
        convert(adapter, base, out)
    assert list(out.parent.iterdir()) == []


def test_a_damaged_adapter_and_another_base_are_refused(tmp_path: Path, base: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter", {place("mlp.up_proj.lora_A"): torch.ones(2, 2)})
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ConversionError, match="cannot be read"):
        convert(adapter, base, tmp_path / "a.gguf")
    (base / "config.json").write_text('{"model_type": "qwen2", "num_attention_heads": 4}')
    with pytest.raises(ConversionError, match="only Llama"):
        convert(adapter, base, tmp_path / "a.gguf")

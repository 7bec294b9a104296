"""Writes the encoder as ONNX with 8-bit weights: what the service runs."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from training.encoder.model import Encoder


class _Exported(nn.Module):
    """Tensors in, unit vectors out; no tokenizer, no dictionary."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors: Tensor = self._encoder({"input_ids": input_ids, "attention_mask": attention_mask})
        return vectors


def with_weights(base: Path, weights: Path) -> Encoder:
    """The published model at `base` with the trained `weights` (encoder.npz) put in."""
    encoder = Encoder(base, "cpu")
    with np.load(weights) as trained:
        state = {name: torch.from_numpy(trained[name]).float() for name in trained.files}
    missing, unexpected = encoder.load_state_dict(state, strict=False)
    left = [
        name for name in missing if "word_embeddings" not in name and "position_ids" not in name
    ]
    if unexpected or left:
        raise ValueError(f"{weights}: made for another model ({[*unexpected, *left][:3]}).")
    return encoder.eval()


def export(encoder: Encoder, base: Path, out: Path) -> None:
    """model.onnx and tokenizer.json in the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    sample = encoder.tokens(["a label", "a longer label: with a description"])
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        options: dict[str, Any] = {"dynamo": False, "opset_version": 17}
        torch.onnx.export(
            _Exported(encoder),
            (sample["input_ids"], sample["attention_mask"]),
            str(whole),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in sample},
            **options,
        )
        # Seven bits: products of eight overflow where they are added up in 16 bits (no VNNI).
        quantize_dynamic(
            whole,
            out / "model.onnx",
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    shutil.copy(base / "tokenizer.json", out / "tokenizer.json")

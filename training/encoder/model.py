"""The encoder in torch: a BERT-like model, mean of its last states, unit length."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

MAX_TOKENS = 96


class Encoder(nn.Module):
    """Texts to unit vectors. The word embeddings stay as published: they know unseen words."""

    def __init__(self, base: Path, device: str) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.bert = AutoModel.from_pretrained(
            base, add_pooling_layer=False, dtype=torch.float32
        ).to(device)
        self.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        self.log_scale = nn.Parameter(torch.tensor(20.0, device=device).log())
        self.device = device

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Padded to the longest text."""
        found = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return {key: found[key].to(self.device) for key in ("input_ids", "attention_mask")}

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        """Unit vectors, one a text."""
        states = self.bert(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        return nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch: int = 256) -> np.ndarray[Any, Any]:
        """Unit vectors as float32, without dropout."""
        self.eval()
        parts = [
            self(self.tokens(texts[at : at + batch])).float().cpu().numpy()
            for at in range(0, len(texts), batch)
        ]
        self.train()
        return np.concatenate(parts)

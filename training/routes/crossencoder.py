"""The cross-encoder: a label and an answer's text are read together, and scored by one number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from mapping.resolver.texts import query_text
from mapping.resolver.types import LabelQuestion
from training.encoder.train import Profile, shown, weights_of
from training.routes.base import (
    Array,
    Lessons,
    Progress,
    Route,
    Settings,
    Steps,
    autocast,
    offered,
    shares,
    weighted,
)

MAX_TOKENS: Final = 160
_PAIRS: Final = 512  # at once, where nothing is learnt


class CrossEncoder(Route):
    """A BERT-like model over ``label [SEP] answer``; soft-max over the shortlist.

    Its weights begin as the published sentence encoder's. Option `pooling`: `cls`, the first
    token's state, or `mean`, as those weights were made for.
    """

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy)
        self._device = device
        self._settings = settings
        self._pooling = str(settings.options.get("pooling", "cls"))
        if self._pooling not in ("cls", "mean"):
            raise ValueError(f"pooling: {self._pooling!r} is neither cls nor mean.")
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._bert = AutoModel.from_pretrained(
            base, add_pooling_layer=False, dtype=torch.float32
        ).to(device)
        self._bert.embeddings.word_embeddings.weight.requires_grad_(False)
        torch.manual_seed(settings.seed)
        width = int(self._bert.config.hidden_size)
        self._head = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1)
        ).to(device)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The encoder and its head."""
        return (self._bert, self._head)

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route."""
        settings = self._settings
        steps = Steps(
            lessons, settings, [p for one in self.modules for p in one.parameters()], progress
        )
        weights = weights_of(lessons.examples)
        self._bert.train()
        self._head.train()

        def loss_of(rows: list[int]) -> Tensor:
            chosen = [lessons.examples[row] for row in rows]
            lists = [
                offered(one, lessons.pools[row], lessons, settings.negatives, steps.chance)
                for one, row in zip(chosen, rows, strict=True)
            ]
            width = min(map(len, lists))
            lists = [one[:width] for one in lists]
            wanted = torch.tensor(
                [shares(one, few, self.names) for one, few in zip(chosen, lists, strict=True)]
            ).to(self._device)
            queries = [shown(one, Profile(), steps.chance) for one in chosen]
            with autocast(self._device):
                logits = self._pairs(
                    [text for text in queries for _ in range(width)],
                    [self.texts[self.names[number]] for few in lists for number in few],
                )
            log_probs = logits.float().view(len(rows), width).log_softmax(-1)
            losses = -(wanted * log_probs).sum(-1)
            return weighted(losses, [weights[one.detector] for one in chosen])

        return steps.run(loss_of)

    def _pairs(self, left: list[str], right: list[str]) -> Tensor:
        tokens = self._tokenizer(
            left, right, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self._device)
        states = self._bert(**tokens).last_hidden_state
        if self._pooling == "cls":
            pooled = states[:, 0]
        else:
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = (states * mask).sum(1) / mask.sum(1)
        scores: Tensor = self._head(pooled).squeeze(-1)
        return scores

    @torch.no_grad()
    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route."""
        self._bert.eval()
        self._head.eval()
        rows, width = shortlists.shape
        queries = [query_text(one) for one in questions]
        left = [text for text in queries for _ in range(width)]
        right = [self.texts[self.names[int(number)]] for number in shortlists.ravel()]
        # Pairs of a length together: less padding.
        order = sorted(range(len(left)), key=lambda n: len(left[n]) + len(right[n]))
        found = np.empty(len(left), dtype=np.float32)
        for at in range(0, len(order), _PAIRS):
            part = order[at : at + _PAIRS]
            with autocast(self._device):
                scores = self._pairs([left[n] for n in part], [right[n] for n in part])
            found[part] = scores.float().cpu().numpy()
        return found.reshape(rows, width)

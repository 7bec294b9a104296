"""A language model as a classifier: the state at the answer's place, and a head on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from mapping.resolver.types import LabelQuestion
from training.encoder.train import Profile, targets, varied, weights_of
from training.routes.base import (
    Array,
    Lessons,
    Progress,
    Settings,
    Steps,
    autocast,
    offered,
    weighted,
)
from training.routes.llm import LanguageRoute, batches, in_shortlists, no_nan
from training.routes.trees import Tree, states

_WIDTH: Final = 256
_AT_ONCE: Final = 64
_NOTHING: Final = Tree([], [], [])


class Head(LanguageRoute):
    """Scores all answers from one state.

    Option `labels`: `texts`, the state is compared with those of the answers' texts by the same
    model, so that an answer without any example can be given; `classes`, a linear layer with a row
    for each answer. `labels_a_step`: how many texts a training step compares with.
    """

    scores_all = True

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy, base, device, settings)
        self._by_texts = settings.options.get("labels", "texts") == "texts"
        self._labels_a_step = int(settings.options.get("labels_a_step", 64))
        width = int(self.causal.config.hidden_size)
        torch.manual_seed(settings.seed)
        self._head = nn.Module()
        out = _WIDTH if self._by_texts else len(self.names)
        self._head.linear = nn.Linear(width, out, bias=not self._by_texts).to(device)
        self._head.log_scale = nn.Parameter(torch.tensor(20.0, device=device).log())
        self._label_prompts = [self.chat("A kind of finding.", text) for text in texts.values()]
        self._kept: Tensor | None = None  # vectors of the answers' texts

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The model and the head."""
        return (self.model, self._head)

    def for_serving(self) -> None:
        """The answers' vectors are worked out beforehand."""
        super().for_serving()
        self._head.requires_grad_(False)
        if self._by_texts:
            self._labels()

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route."""
        trained = [p for one in self.modules for p in one.parameters()]
        steps = Steps(lessons, self.settings, trained, progress)
        weights = weights_of(lessons.examples)
        wanted = targets(lessons.examples, lessons.numbers).to(self.device)
        self._kept = None
        self.model.train()

        def loss_of(rows: list[int]) -> Tensor:
            chosen = [lessons.examples[row] for row in rows]
            prompts = [self.prompt(varied(one, Profile(), steps.chance)) for one in chosen]
            several = self._several(lessons, rows, steps)
            with autocast(self.device):
                states_of = self._states(prompts)
                if self._by_texts:
                    vectors = self._vectors(self._states([self._label_prompts[n] for n in several]))
                    logits = self._near(self._vectors(states_of), vectors)
                else:
                    logits = self._head.linear(states_of).float()
            target = wanted[rows][:, several] if self._by_texts else wanted[rows]
            losses = -(target * logits.log_softmax(-1)).sum(-1)
            return weighted(losses, [weights[one.detector] for one in chosen])

        return steps.run(loss_of)

    def _several(self, lessons: Lessons, rows: Sequence[int], steps: Steps) -> list[int]:
        """Answers to compare with: all right ones of the batch, then near ones in turn."""
        if not self._by_texts:
            return []
        lists = [
            offered(lessons.examples[n], lessons.pools[n], lessons, 32, steps.chance) for n in rows
        ]
        right = [lessons.numbers[name] for n in rows for name in lessons.examples[n].answers]
        found = dict.fromkeys(right)
        for place in range(max(map(len, lists))):
            for one in lists:
                if place < len(one) and len(found) < max(self._labels_a_step, len(set(right))):
                    found[one[place]] = None
        return list(found)

    def _states(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        hidden, _ = states(
            self.causal.model, prompts, [_NOTHING] * len(prompts), self.pad, self.device
        )
        return hidden[:, 0]

    def _vectors(self, states_of: Tensor) -> Tensor:
        return nn.functional.normalize(self._head.linear(states_of).float(), dim=-1)

    def _near(self, questions: Tensor, labels: Tensor) -> Tensor:
        return no_nan(self._head.log_scale.exp().clamp(max=60) * (questions @ labels.T))

    @torch.no_grad()
    def _labels(self) -> Tensor:
        if self._kept is None:
            self.model.eval()
            parts = []
            for part in batches(len(self._label_prompts), _AT_ONCE):
                with autocast(self.device):
                    parts.append(
                        self._vectors(self._states([self._label_prompts[n] for n in part]))
                    )
            self._kept = torch.cat(parts)
        return self._kept

    @torch.no_grad()
    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route: log-probabilities over all answers."""
        self.model.eval()
        found = np.empty((len(questions), len(self.names)), dtype=np.float32)
        for part in batches(len(questions), _AT_ONCE):
            with autocast(self.device):
                states_of = self._states([self.prompt(questions[n]) for n in part])
                if self._by_texts:
                    logits = self._near(self._vectors(states_of), self._labels())
                else:
                    logits = no_nan(self._head.linear(states_of).float())
            found[list(part)] = logits.float().log_softmax(-1).cpu().numpy()
        return in_shortlists(found, shortlists)

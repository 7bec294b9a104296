"""The chooser that is shipped: the letter of the right option (see training.lora)."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mapping.resolver.prompt import LETTERS, build_prompt, options_for
from mapping.resolver.types import LabelQuestion, Prompt
from training.encoder.train import Profile, varied
from training.lora.letters import read
from training.lora.model import answer_logits, encode, letter_ids
from training.lora.samples import draw_options, right_letters
from training.routes.base import Array, Lessons, Progress, Route, Settings, Steps, autocast
from training.routes.llm import LanguageRoute

OFFERED: Final = 8  # what the prompt was made for; branches and "none of these" come on top


class Letters(LanguageRoute):
    """Log-probability of each option's letter. Of a longer shortlist the first 8 are offered."""

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route. Options are drawn as those of a data set are."""
        steps = Steps(lessons, self.settings, list(self.model.parameters()), progress)
        self.model.train()
        ids_of_letters = letter_ids(self.tokenizer)

        def loss_of(rows: list[int]) -> Tensor:
            asked = [self._sample(lessons, row, steps.chance) for row in rows]
            ids, lengths = encode(self.tokenizer, [prompt for prompt, _ in asked], self.device)
            target = torch.zeros(len(rows), len(LETTERS), device=self.device)
            for row, (_, letters) in enumerate(asked):
                target[row, [LETTERS.index(one) for one in letters]] = 1 / len(letters)
            with autocast(self.device):
                logits = answer_logits(self.model, ids, lengths)
            return -(target * logits.log_softmax(-1)[:, ids_of_letters]).sum(-1).mean()

        return steps.run(loss_of)

    def _sample(
        self, lessons: Lessons, row: int, chance: random.Random
    ) -> tuple[Prompt, tuple[str, ...]]:
        """One variation, and the letters that are right."""
        one = lessons.examples[row]
        ranked = [self.names[int(number)] for number in lessons.pools[row]]
        options = options_for(draw_options(ranked, one.answers, chance), self.taxonomy)
        prompt = build_prompt(varied(one, Profile(), chance), options)
        return prompt, right_letters(prompt, one.answers)

    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route. "None of these" is always offered, so it has a score where it is asked for."""
        prompts = []
        for one, few in zip(questions, shortlists, strict=True):
            names = [self.names[int(number)] for number in few[:OFFERED]]
            prompts.append(build_prompt(one, options_for(names, self.taxonomy)))
        with autocast(self.device):
            letters = read(self.tokenizer, self.model, prompts)
        found = np.full(shortlists.shape, np.nan, dtype=np.float32)
        for row, prompt in enumerate(prompts):
            told = dict(zip(prompt.names, letters[row], strict=False))
            for column, number in enumerate(shortlists[row]):
                found[row, column] = told.get(self.names[int(number)], np.nan)
        return found


class Published(Route):
    """The published sentence encoder, tuned on nothing: cosines."""

    scores_all = True

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        from training.routes.biencoder import BiEncoder

        super().__init__(texts, taxonomy)
        self._inner = BiEncoder(texts, taxonomy, base, device, replace(settings, options={}))

    @property
    def modules(self) -> Sequence[torch.nn.Module]:
        """The encoder."""
        return self._inner.modules

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """Nothing is learnt."""
        return 0.0

    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route."""
        return self._inner.score(questions, shortlists)

    def features(self, questions: Sequence[LabelQuestion]) -> dict[str, Array]:
        """See Route."""
        return self._inner.features(questions)

    def for_serving(self) -> None:
        """See Route."""
        self._inner.for_serving()

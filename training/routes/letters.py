"""The chooser that is shipped: the letter of the right option (see training.lora)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from mapping.resolver.prompt import build_prompt, options_for
from mapping.resolver.types import LabelQuestion
from training.lora.train import Profile, read, train
from training.routes.base import Array, Lessons, Progress, Route, Settings
from training.routes.llm import LanguageRoute

OFFERED: Final = 8  # what the prompt was made for; branches and "none of these" come on top


class Letters(LanguageRoute):
    """Log-probability of each option's letter. Of a longer shortlist the first 8 are offered."""

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy, base, device, settings)
        self._profile = replace(
            Profile(), epochs=settings.epochs, batch=settings.batch, rate=settings.rate,
            seed=settings.seed,
        )  # fmt: skip

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route."""
        pairs = [
            (one, [self.names[int(number)] for number in pool[:64]])
            for one, pool in zip(lessons.examples, lessons.pools, strict=True)
        ]
        return train(
            self.tokenizer, self.model, pairs, self.taxonomy, self._profile,
            lambda step, steps, loss, _rate: progress(step, steps, loss),
        )  # fmt: skip

    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route. "None of these" is always offered, so it has a score where it is asked for."""
        prompts = []
        for one, few in zip(questions, shortlists, strict=True):
            names = [self.names[int(number)] for number in few[:OFFERED]]
            prompts.append(build_prompt(one, options_for(names, self.taxonomy)))
        letters = read(self.tokenizer, self.model, prompts)
        found = np.full(shortlists.shape, np.nan, dtype=np.float32)
        for row, prompt in enumerate(prompts):
            told = dict(zip(prompt.names, letters[row], strict=False))
            for column, number in enumerate(shortlists[row]):
                found[row, column] = told.get(self.names[int(number)], np.nan)
        return found

    @property
    def modules(self) -> Sequence[torch.nn.Module]:
        """The model with its adapter."""
        return (self.model,)


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

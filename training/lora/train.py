"""Trains the adapter: cross-entropy over the whole vocabulary at the answer's place.

The prompt carries no loss. What is right may be several letters, which share the probability.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapping.resolver.prompt import LETTERS, build_prompt, options_for
from mapping.resolver.types import LabelQuestion, Prompt
from training.encoder.data import Example
from training.lora.model import answer_logits, encode, letter_ids
from training.lora.samples import Sampling, draw

Progress = Callable[[int, int, float, float], None]
Array = np.ndarray[Any, Any]
MAX_SLOTS = len(LETTERS)


@dataclass(frozen=True, slots=True)
class Profile:
    """How the adapter is trained. Chosen before any figure was seen, and kept."""

    epochs: int = 4
    batch: int = 32
    rate: float = 4e-4
    warm_up: float = 0.05
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)


def train(
    tokenizer: Any,
    model: Any,
    examples: Sequence[tuple[Example, Sequence[str]]],
    taxonomy: Mapping[str, Any],
    profile: Profile,
    progress: Progress = lambda step, steps, loss, rate: None,
) -> float:
    """Trains `model`'s adapter on examples with their pools; returns the last epoch's mean loss.

    `progress` is called now and then with step, steps, mean loss since, tokens a second.
    """
    chance = random.Random(profile.seed)  # noqa: S311 - no secret: repeatable on purpose
    device = str(model.device)
    letters = dict(zip(LETTERS, letter_ids(tokenizer), strict=True))
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=profile.rate, weight_decay=0.0)
    steps = profile.epochs * -(-len(examples) // profile.batch)
    warm = max(1, round(profile.warm_up * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * min(1, step / max(1, steps)))
        ),
    )
    model.train()
    losses: list[Tensor] = []
    step = tokens = 0
    started = time.monotonic()
    for _ in range(profile.epochs):
        losses = []
        order = chance.sample(range(len(examples)), len(examples))
        for at in range(0, len(order), profile.batch):
            samples = [
                draw(*examples[number], taxonomy, profile.sampling, chance)
                for number in order[at : at + profile.batch]
            ]
            ids, lengths = encode(tokenizer, [one.prompt for one in samples], device)
            target = torch.zeros(len(samples), len(letters), device=device)
            for row, one in enumerate(samples):
                for letter in one.letters:
                    target[row, LETTERS.index(letter)] = 1 / len(one.letters)
            with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16):
                logits = answer_logits(model, ids, lengths)
            found = logits.log_softmax(-1)[:, list(letters.values())]
            loss = -(target * found).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            tokens += int(lengths.sum())
            losses.append(loss.detach())
            if step % 50 == 0 or step == steps:
                mean = float(torch.stack(losses[-50:]).mean())
                progress(step, steps, mean, tokens / (time.monotonic() - started))
    return float(torch.stack(losses).mean())


def question_of(example: Example, described: bool) -> LabelQuestion:
    """As it is asked in an evaluation: the detector's category is known."""
    description = example.description if described else ""
    return LabelQuestion(example.detector, example.label, description, example.category)


def prompts_of(
    examples: Sequence[Example], shortlists: Sequence[Sequence[str]],
    taxonomy: Mapping[str, Any], described: bool,
) -> list[Prompt]:  # fmt: skip
    """What is asked about each example with its shortlist."""
    return [
        build_prompt(question_of(one, described), options_for(shortlist, taxonomy))
        for one, shortlist in zip(examples, shortlists, strict=True)
    ]


@torch.no_grad()
def read(tokenizer: Any, model: Any, prompts: Sequence[Prompt], batch: int = 128) -> Array:
    """Log-probabilities of the letters in the whole vocabulary: prompts x 26, unused ones NaN."""
    model.eval()
    device = str(model.device)
    ids_of_letters = letter_ids(tokenizer)
    found = np.full((len(prompts), MAX_SLOTS), np.nan, dtype=np.float32)
    for at in range(0, len(prompts), batch):
        part = prompts[at : at + batch]
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16):
            logits = answer_logits(model, *encode(tokenizer, part, device))
        rows = logits.log_softmax(-1)[:, ids_of_letters].cpu().numpy()
        for number, one in enumerate(part):
            used = len(one.names)
            found[at + number, :used] = rows[number, :used]
    model.train()
    return found

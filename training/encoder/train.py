"""Trains the encoder: each label's text is drawn to the texts of its answers, away from all others.

Loss: cross-entropy of the soft-max over scaled cosines with every answer's text (as in CLIP,
Radford et al. 2021, with the classes' texts in place of in-batch negatives).
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mapping.resolver.texts import query_text
from mapping.resolver.types import LabelQuestion
from training.encoder.data import Dataset, Example
from training.encoder.model import Encoder


@dataclass(frozen=True, slots=True)
class Profile:
    """How the encoder is trained.

    Chosen before any figure was seen; batch, rate and epochs once more when the glossary had made
    three times as many examples, with no figure of other values.
    """

    epochs: int = 6
    batch: int = 256
    rate: float = 2e-4
    warm_up: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    label_alone: float = 0.35  # share of examples shown without their description
    description_alone: float = 0.1
    without_category: float = 0.5
    dropped_words: float = 0.1
    seed: int = 0


def train(
    encoder: Encoder,
    dataset: Dataset,
    examples: Sequence[Example],
    profile: Profile,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> float:
    """Tunes `encoder` in place on `examples`; returns the mean loss of the last epoch.

    `progress` is called with the step, the number of steps and the loss.
    """
    torch.manual_seed(profile.seed)
    chance = random.Random(profile.seed)  # noqa: S311 - no secret: repeatable on purpose
    classes = {name: number for number, name in enumerate(dataset.texts)}
    answers = encoder.tokens(list(dataset.texts.values()))
    weights = weights_of(examples)
    steps = profile.epochs * -(-len(examples) // profile.batch)
    trained = [one for one in encoder.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=profile.rate, weight_decay=profile.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, slope(profile.warm_up, steps))
    encoder.train()
    step = 0
    losses: list[float] = []
    for _ in range(profile.epochs):
        losses = []
        order = chance.sample(range(len(examples)), len(examples))
        for at in range(0, len(order), profile.batch):
            chosen = [examples[number] for number in order[at : at + profile.batch]]
            weight = torch.tensor([weights[one.detector] for one in chosen], device=encoder.device)
            with torch.autocast(encoder.device, dtype=torch.bfloat16):
                queries = encoder(encoder.tokens([shown(one, profile, chance) for one in chosen]))
                vectors = encoder(answers)
            logits = encoder.log_scale.exp().clamp(max=60) * (queries.float() @ vectors.float().T)
            target = targets(chosen, classes).to(encoder.device)
            loss = -((target * logits.log_softmax(-1)).sum(-1) * weight).sum() / weight.sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.detach())
        progress(step, steps, float(torch.stack(losses).mean()))
    return float(torch.stack(losses).mean())


def weights_of(examples: Sequence[Example]) -> dict[str, float]:
    """A detector with four times the labels counts double: the next one will be none of these."""
    sizes = Counter(one.detector for one in examples)
    return {detector: float(size**-0.5) for detector, size in sizes.items()}


def slope(warm_up: float, steps: int) -> Callable[[int], float]:
    """The rate's factor at a step: up for the share `warm_up` of the steps, then down to 0."""
    warm = max(1, round(warm_up * steps))
    return lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def targets(examples: Sequence[Example], classes: Mapping[str, int]) -> Tensor:
    """Examples x classes: right answers share the probability."""
    target = torch.zeros(len(examples), len(classes))
    for row, one in enumerate(examples):
        for name in one.answers:
            target[row, classes[name]] = 1 / len(one.answers)
    return target


def varied(example: Example, profile: Profile, chance: random.Random) -> LabelQuestion:
    """The example as a caller might send it: another spelling, no description, no category."""
    label = chance.choice((example.label, example.label, *example.aliases))
    description, category = example.description, example.category
    drawn = chance.random()
    if drawn < profile.label_alone:
        description = ""
    elif drawn < profile.label_alone + profile.description_alone and description:
        label, description = description, ""
    if chance.random() < profile.without_category:
        category = ""
    return LabelQuestion(example.detector, label, description, category)


def shown(example: Example, profile: Profile, chance: random.Random) -> str:
    """The text of a varied example, some of its words missing."""
    words = query_text(varied(example, profile, chance)).split()
    kept = [word for word in words if chance.random() >= profile.dropped_words]
    return " ".join(kept or words)

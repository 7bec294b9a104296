"""What every route has in common: what it learns from, and how it is asked."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, LabelQuestion
from training.encoder.data import Example
from training.encoder.train import slope

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int, float], None]  # step, steps, loss


@dataclass(frozen=True)
class Lessons:
    """What a route may learn from, without anything of the detectors that are held out."""

    examples: Sequence[Example]
    pools: Array  # examples x answers: numbers of the answers, nearest first; no route made them
    texts: Mapping[str, str]  # answer -> text, in the order of the answers' numbers
    taxonomy: Mapping[str, Any]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every answer."""
        return tuple(self.texts)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Answer -> its number."""
        return {name: number for number, name in enumerate(self.names)}

    def part(self, rows: Sequence[int]) -> "Lessons":
        """Those of some examples."""
        return Lessons(
            [self.examples[row] for row in rows], self.pools[list(rows)], self.texts, self.taxonomy
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """How a route is trained. Each route has its own defaults for the first three."""

    epochs: int
    batch: int  # examples a step
    rate: float
    seed: int = 0
    negatives: int = 15  # wrong answers beside the right ones, where not all are scored
    warm_up: float = 0.1  # share of the steps
    options: Mapping[str, Any] = field(default_factory=dict)  # of this route alone


class Route(ABC):
    """One way to choose. Train it once, then ask; a route that is new answers with its base."""

    scores_all = False  # whether `score` costs the same for all answers as for a few

    def __init__(self, texts: Mapping[str, str], taxonomy: Mapping[str, Any]) -> None:
        self.texts = texts
        self.names = tuple(texts)
        self.taxonomy = taxonomy

    @abstractmethod
    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """Learn; returns the mean loss of the last epoch."""

    @abstractmethod
    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """Log-scores of the shortlisted answers: questions x shortlist, float32.

        `shortlists`: numbers of answers, as many for each question. Higher is likelier; differences
        within a row count, rows cannot be compared. NaN: not scored.
        """

    def features(self, questions: Sequence[LabelQuestion]) -> dict[str, Array]:
        """What retrieval wants of an encoder: `cosines` and `neighbours`, questions x answers."""
        return {}

    def for_serving(self) -> None:  # noqa: B027 - most have nothing to do
        """Make it as fast on a processor as it would be served. It cannot be trained any more."""

    @property
    @abstractmethod
    def modules(self) -> Sequence[torch.nn.Module]:
        """All that is computed with, for its size; together they hold each parameter once."""

    def save(self, folder: Path) -> None:
        """What training has changed, as float16: enough to have it again with the same base."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            f"{place}.{name}": value.detach().to(torch.float16).cpu()
            for place, module in enumerate(self.modules)
            for name, value in module.named_parameters()
            if value.requires_grad
        }
        torch.save(weights, folder / "trained.pt")


@dataclass(frozen=True, slots=True)
class Size:
    """Of a route as it answers."""

    parameters: int
    trained: int
    megabytes: float  # all parameters in 16 bits

    @classmethod
    def of(cls, route: Route) -> "Size":
        """Counts each parameter once."""
        found = {id(one): one for module in route.modules for one in module.parameters()}
        whole = sum(one.numel() for one in found.values())
        trained = sum(one.numel() for one in found.values() if one.requires_grad)
        return cls(whole, trained, round(2 * whole / 1e6, 1))


def offered(
    example: Example, pool: Array, lessons: Lessons, negatives: int, chance: random.Random
) -> list[int]:
    """Right answers, then hard negatives: near ones with some luck, and the two that are no label.

    The two are always there, because a shortlist that is asked about often holds them.
    """
    right = [lessons.numbers[name] for name in example.answers]
    extra = [lessons.numbers[name] for name in (NONE_OF_THESE, NOT_A_FINDING)]
    fixed = [number for number in extra if number not in right]
    ranks = {
        int(number): rank + chance.expovariate(1 / 8) for rank, number in enumerate(pool.tolist())
    }
    for number in (*right, *fixed):
        ranks.pop(number, None)
    near = sorted(ranks, key=ranks.__getitem__)
    return [*right, *fixed, *near][: max(negatives + len(right), len(right) + 1)]


def shares(example: Example, numbers: Sequence[int], names: Sequence[str]) -> list[float]:
    """Target of each offered answer: several right ones share the probability."""
    right = [names[number] in example.answers for number in numbers]
    return [float(one) / max(1, sum(right)) for one in right]


class Steps:
    """The loop that all routes share: batches in a random order, AdamW, a slope, clipped steps."""

    def __init__(
        self, lessons: Lessons, settings: Settings, trained: Sequence[Any], progress: Progress
    ) -> None:
        self._lessons = lessons
        self._settings = settings
        self._trained = [one for one in trained if one.requires_grad]
        self._progress = progress
        self.chance = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose
        torch.manual_seed(settings.seed)

    def run(
        self,
        loss_of: Callable[[list[int]], Tensor],
        after: Callable[[int, int], None] | None = None,
    ) -> float:
        """`loss_of` gets the rows of a batch. `after`: called with step and steps after each step.

        FloatingPointError if a loss is no number: what comes of it would look like a bad route.
        """
        settings = self._settings
        count = len(self._lessons.examples)
        steps = settings.epochs * -(-count // settings.batch)
        if not steps:
            return 0.0
        optimizer = torch.optim.AdamW(self._trained, lr=settings.rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, slope(settings.warm_up, steps))
        losses = list[Tensor]()
        for step, rows in enumerate(self._batches(count), 1):
            if (step - 1) % -(-count // settings.batch) == 0:
                losses = []
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            if after is not None:
                after(step, steps)
            if step % 50 == 0 or step == steps:
                mean = float(torch.stack(losses[-50:]).mean())
                if not np.isfinite(mean):
                    raise FloatingPointError(f"The loss is {mean} at step {step}: lower the rate.")
                self._progress(step, steps, mean)
        return float(torch.stack(losses).mean())

    def _batches(self, count: int) -> Iterator[list[int]]:
        for _ in range(self._settings.epochs):
            order = self.chance.sample(range(count), count)
            for at in range(0, count, self._settings.batch):
                yield order[at : at + self._settings.batch]


def device() -> str:
    """Of this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)  # noqa: T201 - a command line


def autocast(device: str) -> Any:
    """Linear layers in bfloat16 on a GPU; full precision on a processor."""
    if device == "cpu":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)


def weighted(losses: Tensor, weights: Sequence[float]) -> Tensor:
    """Mean of one loss an example, large detectors counting less for each label."""
    weight = torch.tensor(weights, device=losses.device)
    return (losses * weight).sum() / weight.sum()


def all_answers(rows: int, names: Sequence[Any]) -> Array:
    """Shortlists that hold every answer."""
    return np.tile(np.arange(len(names)), (rows, 1))

"""The bi-encoder, as it is shipped and with what might make it better, each an option.

texts        one text an answer, or several (with its boundary, each alias): the nearest counts
soup         so many trainings with other seeds, their weights averaged (Wortsman et al. 2022)
average      share of the last steps over which weights are averaged (SWA, Izmailov et al. 2018)
mined        a second round that also tells each example from near ones with other answers
smoothing    share of a target that goes to the other labels of the same branch
kept         share of a description's clauses that are shown, drawn anew each time
distilled    share of the loss that follows a cross-encoder, asked about vendors it had not seen
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mapping.resolver.prompt import branch
from mapping.resolver.texts import label_text, query_text, spoken
from mapping.resolver.types import LabelQuestion
from training.datasets.written import VENDOR
from training.encoder.data import Dataset, Example
from training.encoder.model import Encoder
from training.encoder.train import Profile, shown, targets, train, weights_of
from training.lora.folds import fold_of
from training.routes.base import (
    Array,
    Lessons,
    Progress,
    Route,
    Settings,
    Steps,
    autocast,
    offered,
    weighted,
)

_CLAUSE: Final = re.compile(r"(?<=[.;,:])\s+")
Teacher = Callable[[Lessons], Route]


@dataclass(frozen=True, slots=True)
class Options:
    """See the module's text. The defaults are the encoder that is shipped."""

    texts: str = "one"
    soup: int = 1
    average: float = 0.0
    mined: float = 0.0  # weight of the second round's further loss
    smoothing: float = 0.0
    kept: float = 1.0
    distilled: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether nothing is to be done but what ``training.encoder`` does."""
        return self == Options()


class BiEncoder(Route):
    """Nearness of a label's vector to those of the answers' texts."""

    scores_all = True

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings, teacher: Teacher | None = None,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy)
        self.encoder = Encoder(base, device)
        self._options = Options(**settings.options)
        self._settings = settings
        self._teacher = teacher
        self._known: Sequence[Example] = ()
        self._vectors: tuple[Array, Array] | None = None  # of the answers' texts; of examples
        self._answers, self._owners = answer_texts(texts, taxonomy, self._options.texts)
        if self._options.distilled and teacher is None:
            raise ValueError("A distilled encoder needs a teacher.")

    @property
    def modules(self) -> Sequence[torch.nn.Module]:
        """The encoder."""
        return (self.encoder,)

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route."""
        self._vectors = None
        # As the service: nearness to labels of detector files, not to the taxonomy's or glossary's.
        self._known = [
            one for one in lessons.examples if one.vendor != VENDOR and (one.vendor or one.category)
        ]
        if self._options.plain:
            profile = replace(
                Profile(), epochs=self._settings.epochs, batch=self._settings.batch,
                rate=self._settings.rate, seed=self._settings.seed,
            )  # fmt: skip
            dataset = Dataset(list(lessons.examples), [], dict(self.texts))
            return train(self.encoder, dataset, lessons.examples, profile, progress)
        taught = self._taught(lessons) if self._options.distilled else None
        start = {name: value.clone() for name, value in self.encoder.state_dict().items()}
        losses, sums = [], dict[str, Tensor]()
        for number in range(self._options.soup):
            self.encoder.load_state_dict(start)
            seeded = replace(self._settings, seed=self._settings.seed + number)
            losses.append(self._one(lessons, seeded, taught, progress))
            _add(sums, self.encoder.state_dict())
        self.encoder.load_state_dict(_mean(sums, self._options.soup, start))
        return float(np.mean(losses))

    def _one(
        self, lessons: Lessons, settings: Settings, taught: Tensor | None, progress: Progress
    ) -> float:
        """A whole training with one seed."""
        loss = self._round(lessons, settings, taught, None, progress)
        if self._options.mined:
            near = self._mine(lessons)
            shorter = replace(settings, epochs=max(1, settings.epochs // 2), rate=settings.rate / 2)
            loss = self._round(lessons, shorter, taught, near, progress)
        return loss

    def _round(
        self, lessons: Lessons, settings: Settings, taught: Tensor | None,
        near: "list[Near] | None", progress: Progress,
    ) -> float:  # fmt: skip
        encoder, options = self.encoder, self._options
        encoder.train()
        steps = Steps(lessons, settings, list(encoder.parameters()), progress)
        weights = weights_of(lessons.examples)
        wanted = smoothed(targets(lessons.examples, lessons.numbers), self.names, options.smoothing)
        answers = encoder.tokens(self._answers)
        owners = torch.tensor(self._owners, device=encoder.device)
        sums, taken = dict[str, Tensor](), [0]

        def loss_of(rows: list[int]) -> Tensor:
            shown_now = [self._shown(lessons.examples[row], steps.chance) for row in rows]
            with autocast(encoder.device):
                queries, vectors = encoder(encoder.tokens(shown_now)), encoder(answers)
            queries = queries.float()
            logits = self._logits(queries, vectors.float(), owners)
            log_probs = logits.log_softmax(-1)
            losses = -(wanted[rows].to(log_probs) * log_probs).sum(-1)
            if taught is not None:
                told = taught[rows].to(log_probs)
                followed = -(told * log_probs).sum(-1)
                losses = (1 - options.distilled) * losses + options.distilled * followed
            if near is not None:
                losses = losses + options.mined * self._apart(queries, [near[row] for row in rows])
            return weighted(losses, [weights[lessons.examples[row].detector] for row in rows])

        def after(step: int, count: int) -> None:
            if options.average and step > (1 - options.average) * count:
                _add(sums, encoder.state_dict())
                taken[0] += 1

        loss = steps.run(loss_of, after)
        if taken[0]:
            encoder.load_state_dict(_mean(sums, taken[0], encoder.state_dict()))
        return loss

    def _logits(self, queries: Tensor, vectors: Tensor, owners: Tensor) -> Tensor:
        """Scaled cosines with each answer's nearest text."""
        cosines = queries @ vectors.T
        if len(owners) > len(self.names):
            nearest = cosines.new_full((len(queries), len(self.names)), -1.0)
            cosines = nearest.scatter_reduce(1, owners.expand_as(cosines), cosines, "amax")
        return self.encoder.log_scale.exp().clamp(max=60) * cosines

    def _shown(self, example: Example, chance: random.Random) -> str:
        if self._options.kept < 1 and example.description:
            clauses = _CLAUSE.split(example.description)
            kept = [one for one in clauses if chance.random() < self._options.kept]
            example = example._replace(description=" ".join(kept or clauses[:1]))
        return shown(example, Profile(), chance)

    def _mine(self, lessons: Lessons, most: int = 4) -> "list[Near]":
        """For each example a near one of another detector with its answer, and others without."""
        texts = [_query(one) for one in lessons.examples]
        vectors = self.encoder.encode(texts)
        cosines = vectors @ vectors.T
        answers = targets(lessons.examples, lessons.numbers).numpy() > 0
        shared = (answers.astype(np.float32) @ answers.T.astype(np.float32)) > 0
        detectors = np.array([one.detector for one in lessons.examples])
        found = []
        for row in range(len(texts)):
            same = np.where(shared[row] & (detectors != detectors[row]), cosines[row], -2.0)
            other = np.argsort(np.where(shared[row], 2.0, -cosines[row]), kind="stable")[:most]
            friend = int(same.argmax())
            found.append(
                Near(texts[friend] if same[friend] > -2 else "", [texts[int(n)] for n in other])
            )
        return found

    def _apart(self, queries: Tensor, near: "Sequence[Near]") -> Tensor:
        """Cross-entropy of the friend among the others; 0 for an example without a friend."""
        texts = [text for one in near for text in (one.friend or " ", *one.others)]
        with autocast(self.encoder.device):
            vectors = self.encoder(self.encoder.tokens(texts))
        several = vectors.float().view(len(near), -1, vectors.shape[-1])
        logits = 20.0 * torch.einsum("qd,qnd->qn", queries, several)
        has = torch.tensor([bool(one.friend) for one in near], device=logits.device)
        return torch.where(has, -logits.log_softmax(-1)[:, 0], 0.0)

    def _taught(self, lessons: Lessons) -> Tensor:
        """What cross-encoders say of each example, each trained on the other half of the vendors.

        A teacher that had seen an example would only repeat its answer.
        """
        assert self._teacher is not None  # noqa: S101 - seen to by __init__
        chance = random.Random(self._settings.seed)  # noqa: S311 - repeatable on purpose
        found = np.zeros((len(lessons.examples), len(self.names)), dtype=np.float32)
        half = np.array([fold_of(one) % 2 for one in lessons.examples])
        for part in sorted(set(half.tolist())):
            learnt = np.flatnonzero(half != part).tolist()
            asked: list[int] = np.flatnonzero(half == part).tolist()
            if not learnt:  # all examples are of one half: they teach themselves
                learnt = asked
            teacher = self._teacher(lessons.part(learnt))
            lists = [
                offered(lessons.examples[row], lessons.pools[row], lessons, 15, chance)
                for row in asked
            ]
            width = min(map(len, lists))
            numbers = np.array([one[:width] for one in lists])
            questions = [_question(lessons.examples[row]) for row in asked]
            scores = torch.from_numpy(teacher.score(questions, numbers)).softmax(-1).numpy()
            found[np.array(asked)[:, None], numbers] = scores
        return torch.from_numpy(found)

    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route: logarithm of the soft-max over all answers."""
        cosines = self._cosines(self.encoder.encode([query_text(one) for one in questions]))
        scaled = (
            torch.from_numpy(cosines) * self.encoder.log_scale.detach().exp().clamp(max=60).cpu()
        )
        found = scaled.log_softmax(-1).numpy()
        return np.take_along_axis(found, shortlists, axis=1).astype(np.float32)

    def features(self, questions: Sequence[LabelQuestion]) -> dict[str, Array]:
        """See Route: cosines with the answers' nearest texts, and with known examples."""
        _, others = self._ready()
        queries = self.encoder.encode([query_text(one) for one in questions])
        found = {"cosines": self._cosines(queries)}
        if self._known:
            near = queries @ others.T
            highest = np.full((len(questions), len(self.names)), -1.0, dtype=np.float32)
            for number, name in enumerate(self.names):
                members = [place for place, one in enumerate(self._known) if name in one.answers]
                if members:
                    highest[:, number] = near[:, members].max(axis=1)
            found["neighbours"] = highest
        return found

    def _cosines(self, queries: Array) -> Array:
        """Of vectors with each answer's nearest text."""
        answers, _ = self._ready()
        cosines = queries @ answers.T
        found = np.full((len(self.names), len(queries)), -1.0, dtype=np.float32)
        np.maximum.at(found, self._owners, cosines.T)
        return found.T

    def for_serving(self) -> None:
        """Vectors of the answers are worked out beforehand."""
        self.encoder.requires_grad_(False)
        self._ready()

    def _ready(self) -> tuple[Array, Array]:
        if self._vectors is None:
            answers = self.encoder.encode(self._answers)
            known = [_query(one) for one in self._known]
            self._vectors = answers, self.encoder.encode(known) if known else answers[:0]
        return self._vectors


@dataclass(frozen=True, slots=True)
class Near:
    """Texts that an example is compared with in the second round."""

    friend: str  # empty: no other detector has the answer
    others: list[str]


def answer_texts(
    texts: Mapping[str, str], taxonomy: Mapping[str, Any], how: str
) -> tuple[list[str], list[int]]:
    """Texts that stand for the answers, and the number of the answer of each."""
    found = list(texts.values())
    owners = list(range(len(found)))
    if how == "one":
        return found, owners
    if how != "several":
        raise ValueError(f"texts: {how!r} is neither one nor several.")
    for number, name in enumerate(texts):
        entry = taxonomy["labels"].get(name)
        if entry is None:
            continue
        parts = [label_text(name, {"meaning": entry["meaning"]}), *map(str, entry["aliases"])]
        if entry.get("boundary"):
            parts.append(f"{spoken(name)}. {entry['meaning']} {entry['boundary']}")
        found += parts
        owners += [number] * len(parts)
    return found, owners


def smoothed(wanted: Tensor, names: Sequence[str], share: float) -> Tensor:
    """Targets of which `share` goes to the other labels on the branches of the right ones."""
    if not share:
        return wanted
    branches = [branch(name) or name for name in names]
    beside = torch.tensor(
        [[one == other and a != b for b, other in enumerate(branches)]
         for a, one in enumerate(branches)], dtype=torch.float32,
    )  # fmt: skip
    spread = beside / beside.sum(-1, keepdim=True).clamp(min=1)
    alone = (beside.sum(-1) == 0).float()
    return wanted * (1 - share) + share * (wanted @ spread + wanted * alone)


def _question(example: Example) -> LabelQuestion:
    return LabelQuestion(example.detector, example.label, example.description, example.category)


def _query(example: Example) -> str:
    return query_text(_question(example))


def _add(sums: dict[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        sums[name] = sums[name] + value.double() if name in sums else value.double().clone()


def _mean(sums: Mapping[str, Tensor], count: int, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: (value / count).to(like[name].dtype) for name, value in sums.items()}

"""The language model says the name: a shortlist's names pair by pair, or all down their tree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mapping.resolver.types import LabelQuestion
from training.encoder.train import Profile, varied, weights_of
from training.routes.base import (
    Array,
    Lessons,
    Progress,
    Settings,
    Steps,
    autocast,
    offered,
    shares,
    weighted,
)
from training.routes.llm import LanguageRoute, batches, in_shortlists, no_nan
from training.routes.trees import Path as Branch
from training.routes.trees import Tree, choices, grow, pruned, states

_NAMES_AT_ONCE = 32  # questions, where nothing is learnt


class Pairwise(LanguageRoute):
    """Log-probability of an answer's name after the question, as a mean over its tokens.

    The whole vocabulary counts. The names of a shortlist hang in one tree below the question, so
    the question is read once. Learnt: soft-max over right names and hard negatives, of the means
    times a scale that is learnt too.
    """

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy, base, device, settings)
        self._completions = self.completions()
        self._scale = torch.nn.Module()
        self._scale.log = torch.nn.Parameter(torch.tensor(1.0, device=device))

    @property
    def modules(self) -> Sequence[torch.nn.Module]:
        """The model and the scale."""
        return (self.model, self._scale)

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route."""
        trained = [p for one in self.modules for p in one.parameters()]
        steps = Steps(lessons, self.settings, trained, progress)
        weights = weights_of(lessons.examples)
        self.model.train()

        def loss_of(rows: list[int]) -> Tensor:
            chosen = [lessons.examples[row] for row in rows]
            lists = [
                offered(one, lessons.pools[row], lessons, self.settings.negatives, steps.chance)
                for one, row in zip(chosen, rows, strict=True)
            ]
            questions = [varied(one, Profile(), steps.chance) for one in chosen]
            with autocast(self.device):
                found = self._means(questions, lists)
            losses = [
                -(torch.tensor(shares(one, few, self.names), device=self.device)
                  * (self._scale.log.exp() * mean).log_softmax(-1)).sum()
                for one, few, mean in zip(chosen, lists, found, strict=True)
            ]  # fmt: skip
            return weighted(torch.stack(losses), [weights[one.detector] for one in chosen])

        return steps.run(loss_of)

    def _means(
        self, questions: Sequence[LabelQuestion], lists: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """For each question the mean log-probabilities of its names."""
        grown = [grow([self._completions[int(number)] for number in few]) for few in lists]
        prompts = [self.prompt(one) for one in questions]
        trees = [tree for tree, _ in grown]
        model = self.causal
        hidden, counts = states(model.model, prompts, trees, self.pad, self.device)
        used = [row[: 1 + int(count)] for row, count in zip(hidden, counts, strict=True)]
        log_probs = no_nan(model.lm_head(torch.cat(used)).float()).log_softmax(-1)
        found, start = [], 0
        for (_, paths), states_of in zip(grown, used, strict=True):
            found.append(torch.stack([_along(log_probs, start, path).mean() for path in paths]))
            start += len(states_of)
        return found

    @torch.no_grad()
    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route."""
        self.model.eval()
        found = np.empty(shortlists.shape, dtype=np.float32)
        scale = float(self._scale.log.exp())
        size = max(1, _NAMES_AT_ONCE * 16 // shortlists.shape[1])
        for part in batches(len(questions), size):
            with autocast(self.device):
                means = self._means([questions[n] for n in part], [shortlists[n] for n in part])
            found[list(part)] = scale * torch.stack(means).float().cpu().numpy()
        return found


class Trie(LanguageRoute):
    """The names of all answers as a tree of tokens; what is not in the tree cannot be said.

    Exact: the products of the choices' probabilities on the way to each name sum to 1. Each node is
    read once. Learnt: the logarithm of that product for the right name, so only choices that are
    really there carry loss.
    """

    scores_all = True

    def __init__(
        self, texts: Mapping[str, str], taxonomy: Mapping[str, Any], base: Path, device: str,
        settings: Settings,
    ) -> None:  # fmt: skip
        super().__init__(texts, taxonomy, base, device, settings)
        completions = self.completions()
        if len({tuple(one) for one in completions}) < len(completions):
            raise ValueError("Two answers have the same name in words: a tree cannot tell them.")
        self._paths: list[Branch]
        self._tree, self._paths = pruned(*grow(completions))
        self._choices = choices(self._paths)

    @property
    def nodes(self) -> int:
        """How many tokens are read after the question."""
        return len(self._tree.tokens)

    def train(self, lessons: Lessons, progress: Progress = lambda *_: None) -> float:
        """See Route. Of several right names one is drawn anew each time."""
        steps = Steps(lessons, self.settings, list(self.model.parameters()), progress)
        weights = weights_of(lessons.examples)
        self.model.train()

        def loss_of(rows: list[int]) -> Tensor:
            chosen = [lessons.examples[row] for row in rows]
            questions = [varied(one, Profile(), steps.chance) for one in chosen]
            right = [self._way(lessons.numbers[steps.chance.choice(one.answers)]) for one in chosen]
            with autocast(self.device):
                losses = -self._along_one(questions, right)
            return weighted(losses, [weights[one.detector] for one in chosen])

        return steps.run(loss_of)

    def _way(self, number: int) -> "_Way":
        """What one name needs of the tree, and what else could be said at each of its places."""
        path = self._paths[number]
        needed: set[int] = set()
        for node in path.at:
            while node >= 0 and node not in needed:
                needed.add(node)
                node = self._tree.parents[node]
        kept = sorted(needed)
        places = {-1: -1} | {node: place for place, node in enumerate(kept)}
        tree = Tree(
            [self._tree.tokens[node] for node in kept],
            [places[self._tree.parents[node]] for node in kept],
            [self._tree.depths[node] for node in kept],
        )
        rivals = [self._choices[node] for node in path.at]
        return _Way(tree, [1 + places[node] for node in path.at], path.tokens, rivals)

    def _along_one(self, questions: Sequence[LabelQuestion], right: "Sequence[_Way]") -> Tensor:
        """Log-probability of one name for each question; soft-max over the tree's choices."""
        model = self.causal
        prompts = [self.prompt(one) for one in questions]
        trees = [way.tree for way in right]
        hidden, _ = states(model.model, prompts, trees, self.pad, self.device)
        found = []
        for row, way in enumerate(right):
            logits = no_nan(model.lm_head(hidden[row, way.places]).float())
            told = [
                logits[place, rivals].log_softmax(-1)[rivals.index(token)]
                for place, (token, rivals) in enumerate(zip(way.tokens, way.rivals, strict=True))
            ]
            found.append(torch.stack(told).sum())
        return torch.stack(found)

    @torch.no_grad()
    def score(self, questions: Sequence[LabelQuestion], shortlists: Array) -> Array:
        """See Route: log-probabilities over all answers."""
        self.model.eval()
        model = self.causal
        found = np.empty((len(questions), len(self.names)), dtype=np.float32)
        for part in batches(len(questions), _NAMES_AT_ONCE):
            prompts = [self.prompt(questions[n]) for n in part]
            with autocast(self.device):
                hidden, _ = states(
                    model.model, prompts, [self._tree] * len(prompts), self.pad, self.device
                )
                told = {
                    (node, token): column
                    for node, tokens in self._choices.items()
                    for token, column in zip(
                        tokens, self._choice(model, hidden, node, tokens), strict=True
                    )
                }
            for number, path in enumerate(self._paths):
                ways = [told[way] for way in zip(path.at, path.tokens, strict=True)]
                found[list(part), number] = torch.stack(ways).sum(0).cpu().numpy()
        return in_shortlists(found, shortlists)

    @staticmethod
    def _choice(model: Any, hidden: Tensor, node: int, tokens: Sequence[int]) -> Tensor:
        """Choices x questions: log-probabilities at a node, by the few rows that they need."""
        weight = model.lm_head.weight[list(tokens)].float()
        logits = no_nan(hidden[:, 1 + node].float() @ weight.T)
        return logits.log_softmax(-1).T


class _Way(NamedTuple):
    """To one name."""

    tree: Tree
    places: list[int]  # where each token is predicted, among the states of prompt and tree
    tokens: list[int]
    rivals: list[list[int]]


def _along(log_probs: Tensor, start: int, path: Branch) -> Tensor:
    """Log-probabilities of a path's tokens, each at the node where it is predicted."""
    nodes = torch.tensor([start + 1 + node for node in path.at], device=log_probs.device)
    tokens = torch.tensor(path.tokens, device=log_probs.device)
    return log_probs[nodes, tokens]

"""Several continuations of one prompt in one pass: a tree of tokens after it.

Every token attends to the prompt and to what stands above it in the tree, so the prompt is worked
out once, and so is whatever continuations begin with in common. The numbers are those of reading
each continuation alone (tests/training/test_routes.py).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROOT = -1  # the prompt's last token


class Tree(NamedTuple):
    """Nodes after the prompt; a parent stands before its children."""

    tokens: list[int]
    parents: list[int]
    depths: list[int]  # 0 below the root


class Path(NamedTuple):
    """One continuation: its tokens, and the node (or ROOT) that each is predicted at."""

    tokens: list[int]
    at: list[int]


def grow(continuations: Sequence[Sequence[int]]) -> tuple[Tree, list[Path]]:
    """The tree of continuations. A last token is only predicted, so it is no node."""
    places: dict[tuple[int, ...], int] = {(): ROOT}
    tree, paths = Tree([], [], []), []
    for one in continuations:
        at = [ROOT]
        for length in range(1, len(one)):
            key = tuple(one[:length])
            if key not in places:
                places[key] = len(tree.tokens)
                tree.tokens.append(one[length - 1])
                tree.parents.append(at[-1])
                tree.depths.append(length - 1)
            at.append(places[key])
        paths.append(Path(list(one), at))
    return tree, paths


def choices(paths: Sequence[Path]) -> dict[int, list[int]]:
    """At each node the tokens that continue some path."""
    found: dict[int, dict[int, None]] = {}
    for path in paths:
        for token, node in zip(path.tokens, path.at, strict=True):
            found.setdefault(node, {})[token] = None
    return {node: list(tokens) for node, tokens in found.items()}


def pruned(tree: Tree, paths: Sequence[Path]) -> tuple[Tree, list[Path]]:
    """Without what is decided: a token that has no rival has probability 1 and need not be read.

    What leads to a later choice stays; its tokens are still read, but not scored.
    """
    rivals = {node for node, tokens in choices(paths).items() if len(tokens) > 1}
    needed = set(rivals)
    for node in range(len(tree.tokens) - 1, -1, -1):
        if node in needed:
            needed.add(tree.parents[node])
    kept = [node for node in range(len(tree.tokens)) if node in needed]
    places = {ROOT: ROOT} | {node: place for place, node in enumerate(kept)}
    smaller = Tree(
        [tree.tokens[node] for node in kept],
        [places[tree.parents[node]] for node in kept],
        [tree.depths[node] for node in kept],
    )
    shorter = []
    for path in paths:
        pairs = [(t, n) for t, n in zip(path.tokens, path.at, strict=True) if n in rivals]
        shorter.append(Path([token for token, _ in pairs], [places[node] for _, node in pairs]))
    return smaller, shorter


def states(
    model: Any, prompts: Sequence[Sequence[int]], trees: Sequence[Tree], pad: int, device: str
) -> tuple[Tensor, Tensor]:
    """Last hidden states: of each prompt's last token and of its tree's nodes, root first.

    Prompts x (1 + nodes) x width, and the number of nodes of each; what is beyond is padding.
    `model`: the transformer without its output layer.
    """
    sizes = [len(prompt) + len(tree.tokens) for prompt, tree in zip(prompts, trees, strict=True)]
    width = max(sizes)
    ids = torch.full((len(prompts), width), pad)
    places = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.eye(width, dtype=torch.bool).repeat(len(prompts), 1, 1)
    masks: dict[int, Tensor] = {}
    for row, (prompt, tree) in enumerate(zip(prompts, trees, strict=True)):
        start, end = len(prompt), sizes[row]
        ids[row, :start] = torch.tensor(list(prompt))
        places[row, :start] = torch.arange(start)
        mask[row, :start, :start] = torch.ones(start, start, dtype=torch.bool).tril()
        if tree.tokens:
            ids[row, start:end] = torch.tensor(tree.tokens)
            places[row, start:end] = start + torch.tensor(tree.depths)
            mask[row, start:end, :start] = True
            above = masks.get(id(tree))
            if above is None:
                above = masks[id(tree)] = _above(tree)
            mask[row, start:end, start:end] = above
    found = model(
        input_ids=ids.to(device),
        attention_mask=mask.unsqueeze(1).to(device),
        position_ids=places.to(device),
        use_cache=False,
    ).last_hidden_state
    most = max(len(tree.tokens) for tree in trees)
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts]).unsqueeze(1)
    wanted = (starts + torch.arange(1 + most)).clamp(max=width - 1).to(device)
    counts = torch.tensor([len(tree.tokens) for tree in trees])
    rows = torch.arange(len(prompts), device=device).unsqueeze(1)
    return found[rows, wanted], counts


def _above(tree: Tree) -> Tensor:
    """Which nodes each node attends to: itself and those above it."""
    found = torch.eye(len(tree.tokens), dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent != ROOT:
            found[node] |= found[parent]
    return found

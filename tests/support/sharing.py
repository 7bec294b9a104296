"""How the tests are shared out among workers (`--dist loadfile --no-loadscope-reorder`).

A file stays together, because its tests share tenants, servers and models that it made. Workers
take one file after another, in the order made here.
"""

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Where tests may be marked `alone`: the Makefile names these, to find them without reading all.
ALONE_IN = ("stack", "local")
# Files and folders that take longest: begun first, so that no worker is left with one in the end.
# One that is missing here costs time, nothing else. See: pytest --durations=40 --durations-min=1
LONGEST = (
    "browser",
    "engine/test_privacy.py",
    "privacy/test_canaries.py",
    "training/test_lora_folds.py",
    "isolation/test_matrix.py",
    "evaluation/test_evaluation.py",
    "local/test_stack.py",
    "engine/test_fuzz.py",
    "stack/test_failures.py",
    "training/test_evaluate_server.py",
    "training/test_chain.py",
    "mapping/test_editions_at_scale.py",
    "worker/test_worker.py",
    "training/test_lora_train.py",
    "training/test_routes.py",
    "training/test_held_out.py",
    "stack/test_serving.py",
)


def share_out(items: list[pytest.Item]) -> None:
    """Bring the longest to the front; the rest keeps its order."""
    for item in items:
        if item.get_closest_marker("alone") and item.path.parent.name not in ALONE_IN:
            raise pytest.UsageError(
                f"{item.nodeid} is marked `alone`: see tests/support/sharing.py"
            )
    rank = {group: place for place, group in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group_of(item.path), len(rank)))


def group_of(path: Path) -> str:
    """A file's name in LONGEST; the browser tests, which share a stack, have one name."""
    name = path.relative_to(TESTS).as_posix()
    return "browser" if name.startswith("browser/") else name

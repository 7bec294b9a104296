"""How the tests are shared out among the workers of pytest-xdist (`--dist loadgroup`).

A file stays together, because its tests share tenants, servers and models that it made; so do the
browser tests, which share one stack. Workers take one after another, in the order made here.
"""

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Where tests may be marked `alone`: the Makefile names these, to find them without reading all.
ALONE_IN = ("stack", "local")
# Whole folders that share what is dear to make.
TOGETHER = ("browser",)
# What takes longest is begun first, so that no worker is left with it in the end. A file that is
# missing here costs time, nothing else. Seen with: pytest --durations=40 --durations-min=1
LONGEST = (
    "browser",
    "privacy/test_canaries.py",
    "training/test_lora_folds.py",
    "isolation/test_matrix.py",
    "local/test_stack.py",
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
    """Name each test's group, and bring the longest to the front; the rest keeps its order."""
    for item in items:
        if item.get_closest_marker("alone") and item.path.parent.name not in ALONE_IN:
            raise pytest.UsageError(
                f"{item.nodeid} is marked `alone`: see tests/support/sharing.py"
            )
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
    rank = {group: place for place, group in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group_of(item.path), len(rank)))


def group_of(path: Path) -> str:
    """The group of a file of tests."""
    name = path.relative_to(TESTS).as_posix()
    folder = name.partition("/")[0]
    return folder if folder in TOGETHER else name

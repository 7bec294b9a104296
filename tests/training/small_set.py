"""A small data set of eight real detectors, made once for all tests."""

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from mapping.resolver.artifacts import SHIPPED
from training.datasets.build import Built, Recipe, build
from training.datasets.instructions import Drawing
from training.datasets.splits import Splitting

# Presidio and Azure are of one vendor, the two of Meta as well.
DETECTORS = (
    "presidio",
    "azure-content-safety",
    "skyflow-detect",
    "detoxify",
    "llama-guard-3",
    "prompt-guard-2",
    "toxic-chat",
    "wildguard",
)


@cache
def small_knowledge() -> Path:
    """The taxonomy with the detectors and their golden cases. Not to be changed."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(settings.KNOWLEDGE_DIR / "taxonomy", folder / "taxonomy")
    for kind, ending in (("detectors", "yaml"), ("golden", "jsonl")):
        (folder / kind).mkdir()
        for name in DETECTORS:
            shutil.copy(settings.KNOWLEDGE_DIR / kind / f"{name}.{ending}", folder / kind)
    return folder


def recipe_of(folder: Path, **changes: Any) -> Recipe:
    """How the small set is made, but for the changes."""
    small = Recipe(
        folder,
        "2026.11",
        synthetic=2,
        glossary=2,
        splitting=Splitting(0.2, 0.2),
        drawing=Drawing(variations=2),
        scores=SHIPPED / "folds" / "folds.npz",
    )
    return replace(small, **changes)


@cache
def small_set() -> Built:
    """In memory. Not to be changed."""
    return build(recipe_of(small_knowledge()))

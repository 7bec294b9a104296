"""How long one question takes on a processor, whatever was learnt: times do not depend on it."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping.resolver.types import LabelQuestion
from training.routes.base import Array, Route, Size, all_answers, say
from training.routes.material import Material
from training.routes.registry import ROUTES, Bases, make
from training.routes.runner import environment

_WARM_UP = 3


def measure(
    data: Path, out: Path, bases: Bases, routes: Sequence[str], threads: int, questions: int,
    shortlists: Sequence[int],
) -> None:  # fmt: skip
    """Adds to OUT/latency.json: 50th and 95th percentile of milliseconds a label, one at a time."""
    torch.set_num_threads(threads)
    known = Material(data)
    rows = np.linspace(0, len(known.dataset.examples) - 1, questions).astype(int).tolist()
    asked = [known.questions([row], place % 2)[0] for place, row in enumerate(rows)]
    path = out / "latency.json"
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name in routes:
        if ROUTES[name].wants_model and bases.model is None:
            say(f"{name}: left out, it wants --base-model")
            continue
        route = make(ROUTES[name], known.dataset.texts, known.taxonomy, bases, "cpu")
        size = Size.of(route)
        route.for_serving()
        times = {
            str(width): _times(route, asked, _lists(len(asked), len(known.names), width))
            for width in ([len(known.names)] if route.scores_all else shortlists)
        }
        found[name] = {
            "threads": threads, "questions": questions, "answers": times, "size": asdict(size),
            **environment(),
        }  # fmt: skip
        told = ", ".join(f"{width} answers {p50:.1f} ms" for width, (p50, _) in times.items())
        say(f"{name}: {told}, {size.megabytes} MB")
        path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def _lists(rows: int, answers: int, width: int) -> Array:
    """Any answers, others for each question."""
    if width == answers:
        return all_answers(rows, range(answers))
    generator = np.random.default_rng(0)
    return np.stack([generator.permutation(answers)[:width] for _ in range(rows)])


def _times(route: Route, asked: Sequence[LabelQuestion], lists: Array) -> tuple[float, float]:
    times = []
    for place, one in enumerate([*asked[:_WARM_UP], *asked]):
        row = place - _WARM_UP if place >= _WARM_UP else place
        started = time.perf_counter()
        route.score([one], lists[row : row + 1])
        if place >= _WARM_UP:
            times.append(1000 * (time.perf_counter() - started))
    times.sort()
    return tuple(times[max(0, math.ceil(share * len(times)) - 1)] for share in (0.5, 0.95))  # type: ignore[return-value]

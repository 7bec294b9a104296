"""Trains and scores routes fold by fold; what is there already is left as it is.

OUT/ROUTE/fold-N.npz and .json for each fold; OUT/ROUTE.npy once all folds are there (examples x
variants x answers, 16 bits, NaN where not scored); OUT/shortlists.npy, those of the first route's
folds, which all other routes are asked about.
"""

import json
import os
import platform
import queue
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.multiprocessing as processes

from training.lora.folds import FOLDS
from training.routes.base import Array, Route, Size, all_answers, device, say
from training.routes.letters import Published
from training.routes.material import VARIANTS, Material, near_first, question_of, shortlists_of
from training.routes.registry import FIRST, ROUTES, Bases, Entry, make

_ENCODED: Final = ("cosines", "neighbours")


class StaleError(ValueError):
    """The folder holds scores of something else. The message says what to do."""


class Plan(NamedTuple):
    """What a worker process needs to know."""

    data: Path
    extra: Path | None
    out: Path
    bases: Bases
    entries: dict[str, Entry]
    width: int  # of the shortlists
    keep: bool  # whether trained weights are kept
    threads: int


class Job(NamedTuple):
    """One training."""

    route: str
    fold: int


def run(plan: Plan, routes: Sequence[str], folds: Sequence[int], workers: int) -> list[Job]:
    """All routes on all folds; the jobs that failed. StaleError, ValueError."""
    known = Material(plan.data, plan.extra)
    plan.out.mkdir(parents=True, exist_ok=True)
    folds = [fold for fold in folds if known.rows(fold)]
    _check(plan, known, routes)
    _pools(plan, known)
    first = [Job(FIRST, fold) for fold in folds]
    failed = _all(plan, first, workers)
    if failed:
        return failed  # without shortlists there is nothing to ask the others about
    _shortlists(plan, known)
    others = [Job(route, fold) for route in routes if route != FIRST for fold in folds]
    failed = _all(plan, others, workers)
    for route in dict.fromkeys((FIRST, *routes)):
        _assemble(plan, known, route)
    return failed


def _check(plan: Plan, known: Material, routes: Iterable[str]) -> None:
    """Refuses to add to a folder what could not be compared with what is there."""
    facts = {"dataset": known.dataset.digest, "extra": len(known.extra), "width": plan.width}
    path = plan.out / "run.json"
    if path.exists():
        there = json.loads(path.read_text("utf-8"))
        if {key: there.get(key) for key in facts} != facts:
            raise StaleError(
                f"{plan.out} holds scores on other data or shortlists: name another folder."
            )
    path.write_text(json.dumps(facts | {"environment": environment()}, indent=2) + "\n", "utf-8")
    for route in {FIRST, *routes}:
        for file in sorted((plan.out / route).glob("fold-*.json")):
            there = json.loads(file.read_text("utf-8"))["settings"]
            if there != _plain(plan.entries[route]):
                raise StaleError(
                    f"{file} was made with other settings: delete the folder {route}, or name "
                    "another one with --out."
                )


def _plain(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(entry.settings)))
    return found


def environment() -> dict[str, str]:
    """What figures of time and of the last decimals depend on."""
    import transformers

    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _pools(plan: Plan, known: Material) -> None:
    """Near answers of everything that is learnt, by the published encoder: no fold's secret."""
    path = plan.out / "pools.npy"
    if path.exists() and len(np.load(path, mmap_mode="r")) == len(known.learnt):
        return
    settings = ROUTES["published"].settings
    route = Published(known.dataset.texts, known.taxonomy, plan.bases.encoder, device(), settings)
    say(f"pools of {len(known.learnt)} examples")
    asked = [question_of(one, described=True) for one in known.learnt]
    cosines = route.features(asked)["cosines"]
    _save(path, near_first(cosines))


def _shortlists(plan: Plan, known: Material) -> None:
    """Of all folds that are there: -1 for the rows of others."""
    lists = np.full((len(known.dataset.examples), len(VARIANTS), plan.width), -1, dtype=np.int16)
    for fold in range(FOLDS):
        npz, facts = _paths(plan, Job(FIRST, fold))
        if not facts.exists():
            continue
        with np.load(npz) as content:
            lists[content["rows"]] = shortlists_of(
                content["cosines"].astype(np.float32),
                content["neighbours"].astype(np.float32),
                plan.width,
            )
    _save(plan.out / "shortlists.npy", lists)


def _all(plan: Plan, jobs: Sequence[Job], workers: int) -> list[Job]:
    """Works off what is missing, in processes of their own; the jobs that failed."""
    missing = [job for job in jobs if not _paths(plan, job)[1].exists()]
    if len(missing) < len(jobs):
        say(f"{len(jobs) - len(missing)} of {len(jobs)} are there already")
    if not missing:
        return []
    started, failed = time.monotonic(), []
    for number, (job, problem) in enumerate(_done(plan, missing, workers), 1):
        elapsed = time.monotonic() - started
        left = elapsed / number * (len(missing) - number)
        say(
            f"{number}/{len(missing)} {job.route} fold {job.fold}: {problem or 'done'}, "
            f"{elapsed:.0f} s, {left:.0f} s left"
        )
        if problem:
            failed.append(job)
    return failed


def _done(plan: Plan, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, str]]:
    """Each job as it is done, and what went wrong with it; without workers in this process."""
    if not workers:
        yield from _each(plan, jobs)
        return
    workers = min(workers, len(jobs))
    context = processes.get_context("spawn")
    tasks, done = context.Queue(), context.Queue()
    for job in (*jobs, *[None] * workers):
        tasks.put(job)
    team = [
        context.Process(target=_work, args=(plan, tasks, done), daemon=True) for _ in range(workers)
    ]
    for worker in team:
        worker.start()
    for _ in jobs:
        yield _next(done, team)


def _next(done: Any, team: Sequence[Any]) -> tuple[Job, str]:
    """RuntimeError if all workers have ended without it."""
    while True:
        try:
            found: tuple[Job, str] = done.get(timeout=5)
        except queue.Empty:
            if not any(worker.is_alive() for worker in team):
                raise RuntimeError("The workers have ended: see what they wrote.") from None
        else:
            return found


def _work(plan: Plan, tasks: Any, done: Any) -> None:
    torch.set_num_threads(plan.threads)
    for found in _each(plan, iter(tasks.get, None)):
        done.put(found)


def _each(plan: Plan, jobs: Iterable[Job]) -> Iterator[tuple[Job, str]]:
    known = Material(plan.data, plan.extra)
    pools = np.load(plan.out / "pools.npy")
    for job in jobs:
        try:
            do(plan, known, pools, job)
            yield job, ""
        except Exception as error:  # noqa: BLE001 - the other jobs go on; the cause is printed
            traceback.print_exc(file=sys.stderr)
            yield job, f"failed ({type(error).__name__})"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def do(plan: Plan, known: Material, pools: Array, job: Job) -> None:
    """Trains one route on one fold, asks it, and writes both files."""
    entry = plan.entries[job.route]
    route = make(entry, known.dataset.texts, known.taxonomy, plan.bases, device())
    lessons = known.lessons(job.fold, pools)
    started = time.monotonic()
    loss = route.train(
        lessons,
        lambda step, steps, loss: say(
            f"  {job.route} fold {job.fold}: step {step}/{steps}, loss {loss:.3f}, "
            f"{time.monotonic() - started:.0f} s"
        ),
    )
    trained = time.monotonic()
    rows = known.rows(job.fold)
    arrays = _asked(plan, known, route, job, rows)
    asked = time.monotonic()
    npz, facts = _paths(plan, job)
    npz.parent.mkdir(exist_ok=True)
    if plan.keep:
        route.save(npz.with_suffix(""))
    kept: dict[str, Any] = {"rows": np.array(rows), **arrays}
    scratch = npz.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez_compressed(file, **kept)
    scratch.replace(npz)
    told = {
        "route": job.route, "fold": job.fold, "rows": len(rows), "examples": len(lessons.examples),
        "loss": round(loss, 4), "train_seconds": round(trained - started, 1),
        "ms_a_label": round(1000 * (asked - trained) / max(1, len(rows) * len(VARIANTS)), 3),
        "settings": _plain(entry), "size": asdict(Size.of(route)), **environment(),
    }  # fmt: skip
    facts.write_text(json.dumps(told, indent=2) + "\n", "utf-8")  # last: it says "done"


def _asked(
    plan: Plan, known: Material, route: Route, job: Job, rows: Sequence[int]
) -> dict[str, Array]:
    """Scores of the fold's rows, and what retrieval wants of an encoder."""
    lists = None if route.scores_all else np.load(plan.out / "shortlists.npy")
    shape = (len(rows), len(VARIANTS), len(known.names))
    found = {"scores": np.full(shape, np.nan, dtype=np.float16)}
    for variant in range(len(VARIANTS)):
        questions = known.questions(rows, variant)
        few = (
            all_answers(len(rows), known.names)
            if lists is None
            else lists[list(rows), variant].astype(np.intp)
        )
        scores = route.score(questions, few)
        # In 16 bits numbers near the highest keep their differences.
        scores = scores - np.nanmax(scores, axis=1, keepdims=True)
        found["scores"][np.arange(len(rows))[:, None], variant, few] = scores
        for name, values in route.features(questions).items():
            found.setdefault(name, np.zeros(shape, dtype=np.float16))[:, variant] = values
    return found


def _paths(plan: Plan, job: Job) -> tuple[Path, Path]:
    stem = plan.out / job.route / f"fold-{job.fold}"
    return stem.with_suffix(".npz"), stem.with_suffix(".json")


def _assemble(plan: Plan, known: Material, route: str) -> None:
    """ROUTE.npy of all folds, and ROUTE-cosines.npy, ROUTE-neighbours.npy of an encoder."""
    parts = []
    for fold in range(FOLDS):
        npz, facts = _paths(plan, Job(route, fold))
        if facts.exists():
            with np.load(npz) as content:
                parts.append({name: content[name] for name in content.files})
    for name in ("scores", *_ENCODED):
        if parts and name in parts[0]:
            whole = np.full(
                (len(known.dataset.examples), *parts[0][name].shape[1:]), np.nan, dtype=np.float16
            )
            for part in parts:
                whole[part["rows"]] = part[name]
            suffix = "" if name == "scores" else f"-{name}"
            _save(plan.out / f"{route}{suffix}.npy", whole)


def _save(path: Path, array: Array) -> None:
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.save(file, array)
    os.replace(scratch, path)

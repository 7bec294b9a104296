"""Folds of the chooser: every vendor's labels by an adapter that never saw the vendor.

Reads what ``manage.py build_dataset --folds`` wrote (training.datasets.folds). Trains and asks each
fold in processes of its own, so that several share a GPU and a fold that is there is left as it is.
"""

import concurrent.futures
import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from mapping.resolver.prompt import MAX_OPTIONS, options_for
from training.datasets import sides, store
from training.encoder import data
from training.encoder.data import Dataset, Example
from training.lora.profiles import profile
from training.lora.refusals import DONE, Refused, Stopped

FOLDS: Final = 5
SHORTLISTS: Final = "shortlists.npy"
_VARIANTS: Final = 2  # described, label alone
_SAID: Final = "letters.npy"  # of one fold, by the rows of its test
_ASKED_IN: Final = "precision.txt"
_TOLD_LINES: Final = 5

Array: TypeAlias = np.ndarray[Any, Any]


def fold_of(example: Example) -> int:
    """All detectors of a vendor fall into one fold."""
    return sides.fold_of(example.vendor or example.detector, FOLDS)


def fold_folder(folder: Path, fold: int) -> Path:
    """Where a fold's data set is kept, and where its run is."""
    return folder / f"fold-{fold}"


class Asked(NamedTuple):
    """A row of a fold's test."""

    example: int  # its number among all examples
    variant: int  # 0 described, 1 label alone


class Material:
    """The folds' data sets, and which row of their tests asks about which example.

    Raises Refused if a fold is missing, asks about other labels than its own, offers something else
    than the shortlists, or has learnt from what it asks about.
    """

    def __init__(self, folder: Path) -> None:
        lists = folder / SHORTLISTS
        if not lists.is_file():
            raise Refused(f"{folder} has no {SHORTLISTS}: give what `build_dataset --folds` made.")
        self.shortlists: Array = np.load(lists)
        self.sets = {fold: _set(folder, fold) for fold in range(FOLDS)
                     if fold_folder(folder, fold).is_dir()}  # fmt: skip
        if not self.sets:
            raise Refused(f"{folder} has no data set: give what `build_dataset --folds` made.")
        stored = next(iter(self.sets.values()))
        self.dataset: Dataset = data.read(stored.folder / store.ENCODER)
        self._taxonomy = stored.taxonomy()
        examples = self.dataset.examples
        self._rows = {(one.detector, one.label): row for row, one in enumerate(examples)}
        if self.shortlists.shape[:2] != (len(examples), _VARIANTS):
            raise Refused(f"{lists} belongs to other labels: build the folds anew.")
        wanted = {fold_of(one) for one in examples}
        if missing := sorted(wanted - self.sets.keys()):
            raise Refused(f"Fold {missing[0]} has no data set in {folder}: build the folds anew.")
        self.asked = {fold: self._asked(fold) for fold in sorted(wanted)}

    def _asked(self, fold: int) -> list[Asked]:
        stored = self.sets[fold]
        if data.read(stored.folder / store.ENCODER).digest != self.dataset.digest:
            raise Refused(f"Fold {fold} is of other labels than the others: build the folds anew.")
        found = []
        for row in stored.rows("test"):
            asked = Asked(self._rows.get((row["detector"], row["source"]), -1), row["variation"])
            if asked.example < 0 or row["names"] != self._offered(asked):
                raise Refused(
                    f"Sample {row['id']} of fold {fold} offers something else than {SHORTLISTS} "
                    "says: build the folds anew."
                )
            found.append(asked)
        mine = {n for n, one in enumerate(self.dataset.examples) if fold_of(one) == fold}
        learnt = set(stored.manifest["splits"]["train"]["detectors"])
        if {one.example for one in found} != mine or not learnt.isdisjoint(
            self.dataset.examples[n].detector for n in mine
        ):
            raise Refused(f"Fold {fold} asks about other vendors than its own: build it anew.")
        return found

    def _offered(self, asked: Asked) -> list[str]:
        names = list(self.dataset.texts)
        few = [names[int(number)] for number in self.shortlists[asked.example, asked.variant]]
        return [option.name for option in sorted(options_for(few, self._taxonomy))]

    def gathered(self, said: Mapping[int, Array]) -> Array:
        """Examples x variants x letters of what was said of the folds' rows; NaN where unused.

        What has no description is asked about once, and counts as both variants.
        """
        found = np.full(
            (len(self.dataset.examples), _VARIANTS, MAX_OPTIONS), np.nan, dtype=np.float32
        )
        for fold, rows in said.items():
            for asked, row in zip(self.asked[fold], rows, strict=True):
                found[asked] = row
        for number, one in enumerate(self.dataset.examples):
            if not one.description:
                found[number, 0] = found[number, 1]
        return found


def _set(folder: Path, fold: int) -> store.Stored:
    root = fold_folder(folder, fold)
    found = store.folders(root)
    if len(found) != 1:
        raise Refused(f"{root} holds {len(found)} data sets, not one: build the folds anew.")
    try:
        return store.load(found[0])
    except store.StoreError as error:
        raise Refused(str(error)) from None


# -- folds ------------------------------------------------------------------------------------


def folds(options: Namespace) -> int:
    """``folds``: OUT/letters.npy and OUT/shortlists.npy. Raises Refused, Stopped.

    `options`: data, base, out, profile, changes, precision, workers, cache.
    """
    from training.lora import base as bases

    chosen = profile(options.profile, options.changes)
    known = Material(options.data)
    base = bases.find(options.base, options.cache)
    for fold, stored in known.sets.items():
        now = (stored.digest, chosen.model_dump(), base.sha256)
        _check_same(fold_folder(options.out, fold), now)
    options.out.mkdir(parents=True, exist_ok=True)
    _check_precision(options.out / _ASKED_IN, options.precision)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.workers) as team:
        tasks = {team.submit(_fold, options, fold, known.sets[fold]): fold for fold in known.asked}
        for task in concurrent.futures.as_completed(tasks):
            if not task.exception():
                _say(f"fold {tasks[task]} done after {time.monotonic() - started:.0f} s")
    for task in tasks:
        task.result()
    said = {fold: np.load(fold_folder(options.out, fold) / _SAID) for fold in known.asked}
    _write(options.out, "letters.npy", known, said)
    facts = {
        "dataset": known.dataset.digest,
        "profile": chosen.model_dump(),
        "base": base.sha256,
        "precision": options.precision,
        "folds": {fold: known.sets[fold].digest for fold in known.asked},
    }
    (options.out / "lora.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return DONE


def _check_precision(path: Path, precision: str) -> None:
    """All folds are asked in one precision: their numbers are fitted together."""
    before = path.read_text("utf-8").strip() if path.exists() else precision
    if before != precision:
        raise Refused(f"{path.parent} was asked in {before}: give that, or name another --out.")
    path.write_text(f"{precision}\n", "utf-8")


def _check_same(run: Path, now: tuple[str, dict[str, Any], str]) -> None:
    """A fold that is there must have been made in the same way."""
    path = run / "run.json"
    if not path.exists():
        return
    before = json.loads(path.read_text("utf-8"))
    if (before["data_set"], before["profile"], before["base"]["sha256"]) != now:
        raise Refused(
            f"{run} was made with another data set, profile or base model: name another --out."
        )


def _fold(options: Namespace, fold: int, stored: store.Stored) -> None:
    run = fold_folder(options.out, fold)
    if (run / _SAID).exists():
        return
    run.mkdir(parents=True, exist_ok=True)
    base = ["--base", options.base, "--cache", str(options.cache)]
    train = ["train", str(stored.folder), *base, "--out", str(run), "--profile", options.profile]
    train += [word for change in options.changes for word in ("--set", change)]
    if (run / "run.json").exists():
        train.append("--resume")
    ask = ["letters", str(stored.folder), *base, "--adapter", str(run / "adapter")]
    ask += ["--precision", options.precision, "--out", str(run / _SAID)]
    for words in (train, ask):
        _process(words, run / "log.txt")


def _process(words: Sequence[str], log: Path) -> None:
    """A step of this program in a process of its own. Raises Stopped with its last words."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "training.lora", *words]
        status = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    if status != DONE:
        last = log.read_text("utf-8", "replace").splitlines()[-_TOLD_LINES:]
        raise Stopped("\n".join([f"{log.parent.name}: {words[0]} ended with {status}.", *last]))


# -- letters, zero-shot -----------------------------------------------------------------------


def letters(options: Namespace) -> int:
    """``letters``: test rows x 26 of one data set. `adapter`: None for the base model alone."""
    from training.lora.letters import Reader
    from training.lora.rows import read_test

    _, rows = read_test(options.data)
    reader = Reader(options.base, options.cache, options.adapter, options.precision)
    _save(options.out, reader.read(rows))
    return DONE


def zero_shot(options: Namespace) -> int:
    """``zero-shot``: OUT/zero-shot.npy, what the base model says without any training."""
    from training.lora.letters import Reader
    from training.lora.rows import read_test

    known = Material(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    reader = Reader(options.base, options.cache, None, options.precision)
    said = {}
    for fold in known.asked:
        said[fold] = reader.read(read_test(known.sets[fold].folder)[1])
        _say(f"fold {fold}: {len(said[fold])} questions")
    _write(options.out, "zero-shot.npy", known, said)
    return DONE


def _write(out: Path, name: str, known: Material, said: Mapping[int, Array]) -> None:
    _save(out / name, known.gathered(said))
    _save(out / SHORTLISTS, known.shortlists)


def _save(path: Path, array: Array) -> None:
    """All of it or nothing: a file that is there is taken as done."""
    part = path.with_name(f".{path.name}")
    with part.open("wb") as file:
        np.save(file, array)
    part.rename(path)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command line

"""``python -m training.routes STEP``: run, import, latency, table.

run      trains routes on the five folds by vendor and writes their scores of what is held out
import   takes in the scores of the shipped encoder and adapter, to have them in the table
latency  one question at a time on this machine's processor, with the published weights
table    Markdown: every route, alone and with retrieval, and where each wins
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.routes.material import all_folds
from training.routes.registry import ROUTES, Bases, Entry

REFUSED = 3


def main() -> int:
    """Parse the command line and run the step; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.routes", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    steps = parser.add_subparsers(dest="step", required=True)
    run = steps.add_parser("run", help="train and score")
    run.set_defaults(work=_run)
    run.add_argument("data", type=Path, help="folder with dataset.json and taxonomy.json")
    _bases(run)
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--routes", default=",".join(ROUTES), help="names with commas; all if left")
    run.add_argument("--folds", type=int, default=5, help="the first so many of the five folds")
    run.add_argument("--fold", type=int, action="append", help="this fold alone; may be repeated")
    run.add_argument(
        "--workers", type=int, default=3, help="processes that share the device; 0: this one"
    )
    run.add_argument("--threads", type=int, default=2, help="of each process")
    run.add_argument("--shortlist", type=int, default=16)
    run.add_argument("--extra", type=Path, help="file of further examples to learn from")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--epochs", type=int, help="of every route: for a trial run")
    run.add_argument("--set", action="append", default=[], metavar="ROUTE.FIELD=VALUE",
                     help="epochs, batch, rate, negatives, warm_up of one route")  # fmt: skip
    run.add_argument("--keep", action="store_true", help="keep the trained weights of each fold")
    bring = steps.add_parser("import", help="scores of the shipped models")
    bring.set_defaults(work=_import)
    bring.add_argument("data", type=Path)
    bring.add_argument("--folds", type=Path, default=Path("mapping/artifacts/folds/folds.npz"))
    bring.add_argument("--out", type=Path, required=True)
    latency = steps.add_parser("latency", help="times on a processor")
    latency.set_defaults(work=_latency)
    latency.add_argument("data", type=Path)
    _bases(latency)
    latency.add_argument("--out", type=Path, required=True)
    latency.add_argument("--routes", default=",".join(ROUTES))
    latency.add_argument("--threads", type=int, default=2)
    latency.add_argument("--questions", type=int, default=40)
    latency.add_argument("--shortlist", type=int, nargs="*", default=[8, 16])
    table = steps.add_parser("table", help="Markdown")
    table.set_defaults(work=_table)
    table.add_argument("out", type=Path)
    table.add_argument("--data", type=Path, required=True)
    table.add_argument("--ensembles", default="", help="a+b,a+b+c: further ones with retrieval")
    options = parser.parse_args()
    try:
        status: int = options.work(options)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line
        return REFUSED
    return status


def _bases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base-encoder", type=Path, required=True, help="folder of MiniLM")
    parser.add_argument("--base-model", type=Path, help="folder or .gguf file of a causal model")


def _named(names: str) -> list[str]:
    found = list(dict.fromkeys(filter(None, names.split(","))))
    unknown = [name for name in found if name not in ROUTES]
    if unknown:
        raise ValueError(f"There is no route {unknown[0]!r}. There are: {', '.join(ROUTES)}.")
    return found


def entries_of(seed: int, epochs: int | None, changes: list[str]) -> dict[str, Entry]:
    """The routes with what the command line changes. ValueError for what is no setting."""
    found = {
        name: replace(
            one,
            settings=replace(
                one.settings, seed=seed,
                epochs=one.settings.epochs if epochs is None else min(epochs, one.settings.epochs),
            ),
        )
        for name, one in ROUTES.items()
    }  # fmt: skip
    for change in changes:
        path, _, value = change.partition("=")
        name, _, field = path.rpartition(".")
        kinds = {"epochs": int, "batch": int, "negatives": int, "rate": float, "warm_up": float}
        if name not in found or field not in kinds:
            raise ValueError(f"--set {change}: write ROUTE.FIELD=VALUE, a FIELD of {[*kinds]}.")
        changed: dict[str, Any] = {field: kinds[field](value)}
        found[name] = replace(found[name], settings=replace(found[name].settings, **changed))
    return found


def _run(options: argparse.Namespace) -> int:
    from training.routes.runner import Plan, run

    routes = _named(options.routes)
    bases = Bases(options.base_encoder, options.base_model)
    if bases.model is None and any(ROUTES[name].wants_model for name in routes):
        raise ValueError("Some of the routes want a language model: --base-model.")
    plan = Plan(
        options.data, options.extra, options.out, bases,
        entries_of(options.seed, options.epochs, options.set), options.shortlist, options.keep,
        options.threads,
    )  # fmt: skip
    folds = options.fold or all_folds(options.folds)
    failed = run(plan, routes, folds, options.workers)
    for job in failed:
        print(f"failed: {job.route} fold {job.fold}", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


def _import(options: argparse.Namespace) -> int:
    from training.routes.shipped import bring

    bring(options.data, options.folds, options.out)
    return 0


def _latency(options: argparse.Namespace) -> int:
    from training.routes.latency import measure

    measure(
        options.data, options.out, Bases(options.base_encoder, options.base_model),
        _named(options.routes), options.threads, options.questions, options.shortlist,
    )  # fmt: skip
    return 0


def _table(options: argparse.Namespace) -> int:
    from training.routes.table import tables

    ensembles = [one.split("+") for one in options.ensembles.split(",") if one]
    print(tables(options.data, options.out, ensembles))  # noqa: T201 - what it is for
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

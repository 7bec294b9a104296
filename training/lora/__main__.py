"""``python -m training.lora STEP``: train, profiles; folds, final, zero-shot.

``train DATASET --base DIR --out RUN --profile NAME`` trains an adapter on a data set folder. It
runs on a CPU, on one GPU, and on several by ``accelerate launch -m training.lora train ...``. Exit
status: 0 done, 3 refused before anything began, 4 cancelled with a checkpoint, others failed.

``folds``, ``final`` and ``zero-shot`` hold vendors out in turn: DATA holds dataset.json and
taxonomy.json, and beside them pools.npy (examples x answers, nearest first, of an encoder that was
trained on nothing) and shortlists.npy (examples x variants x 8, of the out-of-fold encoder).
"""

import argparse
import sys
from pathlib import Path

from training.lora import command


def main() -> int:
    """Parse the command line and run the step; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.lora", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    steps = parser.add_subparsers(dest="step", required=True)
    command.add_arguments(steps.add_parser("train", help="train an adapter on a data set folder"))
    steps.add_parser("profiles", help="list the profiles")
    for name in ("folds", "final", "zero-shot"):
        _add_fold_arguments(steps.add_parser(name))
    options = parser.parse_args()
    if options.step == "train":
        return command.train(options)
    if options.step == "profiles":
        return command.show_profiles()
    from training.lora import held_out

    held_out.run_step(options.step, options)
    return 0


def _add_fold_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="folder or .gguf file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=3)


if __name__ == "__main__":
    sys.exit(main())

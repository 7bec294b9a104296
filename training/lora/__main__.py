"""``python -m training.lora STEP``: train, profiles; folds, zero-shot, letters.

``train DATASET --base DIR --out RUN --profile NAME`` trains an adapter on a data set folder. It
runs on a CPU, on one GPU, and on several by ``accelerate launch -m training.lora train ...``. Exit
status: 0 done, 3 refused before anything began, 4 cancelled with a checkpoint, others failed.

``folds`` and ``zero-shot`` hold vendors out in turn: DATA is what ``manage.py build_dataset
--folds DATA`` made. ``folds`` trains an adapter for each of the five as ``train`` does and asks it
about the fold's labels; called again, it goes on with what is missing. ``zero-shot`` asks the base
model. Both write what ``training.calibration`` reads: letters.npy or zero-shot.npy, shortlists.npy.
``letters`` asks about the test of one data set.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from training.lora import command

_PRECISIONS = ("fp32", "bf16", "fp16")


def main() -> int:
    """Parse the command line and run the step; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.lora", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    steps = parser.add_subparsers(dest="step", required=True)
    command.add_arguments(steps.add_parser("train", help="train an adapter on a data set folder"))
    steps.add_parser("profiles", help="list the profiles")
    folds = steps.add_parser("folds", help="each vendor's labels by an adapter without the vendor")
    zero_shot = steps.add_parser("zero-shot", help="the same labels by the base model alone")
    letters = steps.add_parser("letters", help="the labels of one data set's test")
    for step in (folds, zero_shot, letters):
        command.add_base_arguments(step)
        step.add_argument("--out", type=Path, required=True)
        step.add_argument(
            "--precision", choices=_PRECISIONS, default="fp32",
            help="of the model when it is asked (default: %(default)s, as the worker has it)",
        )  # fmt: skip
    command.add_profile_arguments(folds)
    folds.add_argument("--workers", type=int, default=1, help="folds at once, on one GPU")
    letters.add_argument("--adapter", type=Path, help="folder of an adapter; none: the base alone")
    options = parser.parse_args()
    if options.step == "profiles":
        return command.show_profiles()
    return command.refusing(_steps()[options.step], options)


def _steps() -> dict[str, Callable[[argparse.Namespace], int]]:
    from training.lora import folds

    return {
        "train": command.train, "folds": folds.folds, "zero-shot": folds.zero_shot,
        "letters": folds.letters,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

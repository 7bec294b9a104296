"""How the trainer ends, and what it refuses before anything long begins."""

import shutil
from pathlib import Path
from typing import Final

DONE: Final = 0
FAILED: Final = 1
REFUSED: Final = 3
CANCELLED: Final = 4

_SPARE_BYTES: Final = 16 << 20  # metrics, run.json, and what the file system keeps for itself


class Refused(Exception):  # noqa: N818 - an answer to the operator
    """What was asked for cannot be done as it is. The message says why and what to do."""


class Stopped(Exception):  # noqa: N818 - so is this
    """Training cannot go on. The message says why; the last checkpoint is whole."""


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin where the run's files would not fit. `needed`: bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise Refused(
            f"The disk of {folder} has {free >> 20} MB free, and the run's checkpoints and adapter "
            f"need about {(needed + _SPARE_BYTES) >> 20} MB: free space, or name another folder."
        )

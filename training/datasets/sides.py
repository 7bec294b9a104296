"""The sides of a data set. By itself, so that a trainer reads sets without what makes them."""

import hashlib
from typing import Final, Literal, TypeAlias, get_args

Side: TypeAlias = Literal["train", "validation", "test"]
SIDES: Final[tuple[Side, ...]] = get_args(Side)


def fold_of(vendor: str, folds: int) -> int:
    """Which of so many parts a vendor is in, with all its detectors."""
    return int(hashlib.sha256(vendor.encode()).hexdigest(), 16) % folds

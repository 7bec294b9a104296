"""The sides of a data set. By itself, so that a trainer reads sets without what makes them."""

from typing import Final, Literal, TypeAlias, get_args

Side: TypeAlias = Literal["train", "validation", "test"]
SIDES: Final[tuple[Side, ...]] = get_args(Side)

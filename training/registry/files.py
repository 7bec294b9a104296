"""Writes folders whole or not at all, and never over another one."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from training import durable
from training.registry.errors import ExistsError, RegistryError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TAKEN: Final = (errno.ENOTEMPTY, errno.EEXIST)


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A scratch folder beside `place` that becomes `place` when the block ends well.

    Raises ExistsError if `place` is there, before or after; RegistryError if the disk is full or
    cannot be written. Then nothing is left.
    """
    refuse_existing(place)
    scratch: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
        yield scratch
        _keep(scratch)
        scratch.chmod(0o755)
        # On top of a folder with anything in it this fails: of two writers one wins.
        refuse_existing(place)
        scratch.rename(place)
        durable.sync(place.parent)
    except OSError as error:
        raise _explained(error, place) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def refuse_existing(place: Path) -> None:
    """Raises ExistsError."""
    if place.exists():
        raise ExistsError(
            f"{place.name} exists already, and versions never change. Give the next version."
        )


def _keep(folder: Path) -> None:
    """On the disk, not only in its cache; read-only from now on."""
    for path in folder.iterdir():
        path.chmod(0o444)
        durable.sync(path)
    durable.sync(folder)


def _explained(error: OSError, place: Path) -> RegistryError:
    if error.errno in _TAKEN:
        return ExistsError(f"{place.name} exists already: somebody else was faster.")
    if error.errno in _FULL:
        return RegistryError(
            f"There is no room for {place.name}: nothing was written. Free some of the disk of "
            f"{place.parent}, then try again."
        )
    return RegistryError(
        f"{place.name} could not be written ({error.strerror or type(error).__name__}): nothing "
        "was left of it."
    )

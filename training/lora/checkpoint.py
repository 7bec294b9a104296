"""Checkpoints: all of one or nothing, whatever kills the process.

A checkpoint is a folder: the adapter as PEFT writes it, state.pt (optimizer, scaler, random
numbers) and state.json (where training stands, SHA-256 of the other files). It is written under
another name, brought to the disk, and then renamed.
"""

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from training import durable
from training.lora.refusals import Stopped

KEPT: Final = 2  # newest ones; the best one is kept beside them
_STATE: Final = "state.json"
_TENSORS: Final = "state.pt"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")


class Checkpoint(NamedTuple):
    """One that is whole."""

    folder: Path
    step: int
    state: dict[str, Any]

    def tensors(self) -> dict[str, Any]:
        """What `save` was given; reading it cannot run code."""
        import torch

        found: dict[str, Any] = torch.load(
            self.folder / _TENSORS, map_location="cpu", weights_only=True
        )
        return found

    def adapter(self) -> dict[str, Any]:
        """The adapter's weights by PEFT's names."""
        from safetensors.torch import load_file

        return dict(load_file(self.folder / "adapter_model.safetensors"))


def save(
    folder: Path, step: int, *, adapter: dict[str, bytes], tensors: dict[str, Any],
    state: dict[str, Any],
) -> Checkpoint:  # fmt: skip
    """Write checkpoints/step-N below `folder`. `adapter`: files by name.

    Raises Stopped if the disk is full: what was there before stays.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    files = {**adapter, _TENSORS: buffer.getvalue()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    state = {**state, "step": step, "files": digests}
    files[_STATE] = json.dumps(state, indent=1).encode()
    target = folder / f"step-{step}"
    publish(target, files)
    return Checkpoint(target, step, state)


def publish(target: Path, files: dict[str, bytes]) -> None:
    """Put a folder of files in the place of `target`, all of it or nothing. Raises Stopped."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".{target.name}.new"
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        for name, content in files.items():
            durable.write(scratch / name, content)
        durable.sync(scratch)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        scratch.rename(target)
        durable.sync(target.parent)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if error.errno in _FULL:
            raise Stopped(
                f"The disk is full: {target.name} could not be written ({error.strerror}). What "
                "was written before is whole: free space, and go on with --resume."
            ) from None
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Put a file in the place of `path`, all of it or nothing. Raises Stopped on a full disk."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        durable.write(scratch, content)
        scratch.replace(path)
        durable.sync(path.parent)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise Stopped(f"The disk is full: {path.name} could not be written.") from None
        raise


def newest(folder: Path, say: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """The newest checkpoint that is whole; `say` hears of those that are not."""
    found = sorted(folder.glob("step-*"), key=_step, reverse=True)
    for path in found:
        checkpoint = read(path)
        if checkpoint is not None:
            return checkpoint
        say(f"{path.name} is damaged: an older checkpoint is taken.")
    return None


def read(path: Path) -> Checkpoint | None:
    """The checkpoint of a folder, or None if it is not whole."""
    try:
        state = json.loads((path / _STATE).read_text("utf-8"))
        for name, digest in state["files"].items():
            content = (path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                return None
        return Checkpoint(path, int(state["step"]), state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def tidy(folder: Path, best: int) -> None:
    """Drop all but the newest ones and the best, and what an ended process left behind."""
    found = sorted(folder.glob("step-*"), key=_step, reverse=True)
    for path in [*found[KEPT:], *folder.glob(".step-*")]:
        if _step(path) != best or path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)


def _step(path: Path) -> int:
    number = path.name.rpartition("-")[2].partition(".")[0]
    return int(number) if number.isdigit() else -1

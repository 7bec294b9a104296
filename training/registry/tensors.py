"""Reads safetensors files without a framework: names, shapes, types, whether numbers are finite.

Format: https://github.com/huggingface/safetensors#format. Eight bytes with the header's length
(little endian), the header as JSON, then the tensors one after another without gaps.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from training.registry.errors import CorruptError

_MOST_HEADER_BYTES: Final = 10 << 20
_CHUNK_ITEMS: Final = 1 << 22
# Of floating-point tensors: bytes of a number, and the type that numpy reads them as.
_TYPES: Final[Mapping[str, tuple[int, str]]] = {
    "F32": (4, "<f4"),
    "F16": (2, "<f2"),
    "BF16": (2, "<u2"),  # numpy has no bfloat16: its bits are looked at
}
_BF16_EXPONENT: Final = 0x7F80  # all ones: an infinity, or no number


class Tensor(NamedTuple):
    """One entry of a header. `begin` and `end` in bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def numbers(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name. Raises CorruptError; reads no tensor."""
    return _header(path)[0]


def check_finite(path: Path) -> dict[str, Tensor]:
    """The same, after every number was looked at. Raises CorruptError for NaN and infinities."""
    tensors, start = _header(path)
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise CorruptError(
                f"{path.name}: {name} is of type {tensor.dtype}. Save it as F32, F16 or BF16."
            )
        if not _is_finite(path, start, tensor):
            raise CorruptError(
                f"{path.name}: {name} holds NaN or infinite numbers. The training has diverged: "
                "train again, with a lower learning rate."
            )
    return tensors


def _header(path: Path) -> tuple[dict[str, Tensor], int]:
    """The tensors, and where the first one begins in the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, _MOST_HEADER_BYTES):
                raise _broken(path, "its header does not fit into it")
            content = json.loads(file.read(length))
        content.pop("__metadata__", None)
        tensors = {str(name): _entry(entry) for name, entry in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _broken(path, "its header cannot be read") from None
    except OSError as error:
        raise CorruptError(f"{path.name} cannot be read: {error.strerror}.") from None
    _check_layout(path, tensors, size - 8 - length)
    return tensors, 8 + length


def _entry(entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    numbers = (*entry["shape"], begin, end)
    if not all(type(one) is int and one >= 0 for one in numbers):
        raise ValueError
    return Tensor(str(entry["dtype"]), tuple(entry["shape"]), begin, end)


def _check_layout(path: Path, tensors: Mapping[str, Tensor], data_bytes: int) -> None:
    """No gap, no overlap, nothing left over, and every tensor as long as its shape says."""
    if not tensors:
        raise _broken(path, "it holds no tensor")
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        known = _TYPES.get(tensor.dtype)
        length = tensor.end - tensor.begin
        if tensor.begin != at or (known is not None and length != tensor.numbers * known[0]):
            raise _broken(path, f"{name[:100]} is not where or as long as the header says")
        at = tensor.end
    if at != data_bytes:
        raise _broken(path, f"it has {data_bytes} bytes of tensors and should have {at}")


def _is_finite(path: Path, start: int, tensor: Tensor) -> bool:
    _, kind = _TYPES[tensor.dtype]
    if not tensor.numbers:
        return True
    values = np.memmap(path, kind, "r", start + tensor.begin, (tensor.numbers,))
    for at in range(0, tensor.numbers, _CHUNK_ITEMS):
        part = values[at : at + _CHUNK_ITEMS]
        if not (_finite_bf16(part) if kind == "<u2" else np.isfinite(part)).all():
            return False
    return True


def _finite_bf16(bits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    found: np.ndarray[Any, Any] = (bits & _BF16_EXPONENT) != _BF16_EXPONENT
    return found


def _broken(path: Path, what: str) -> CorruptError:
    return CorruptError(
        f"{path.name} is no whole safetensors file: {what}. Copy it again from where it was made."
    )

"""Files that a trainer writes, read while they grow; and what their lines say. Plain Python."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_BYTES = 4 << 20  # at a time
_LINE_BYTES = 64 << 10  # a longer line is skipped
_LEVELS = {"warning": "warning", "error": "error", "refused": "error", "stopped": "error"}
_TRACE = "Traceback (most recent call last):"


class Tail:
    """The whole lines that a file has got since it was last looked at."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        """`from_end`: what stands there already has been read by somebody."""
        self._path = path
        self._offset = 0
        self._inode = 0
        if from_end and (found := _stat(path)):
            self._inode, self._offset = found

    def read(self) -> tuple[bool, list[str]]:
        """Whether the file was begun anew, and its new lines. A file that is not there has none."""
        found = _stat(self._path)
        if found is None:
            return False, []
        inode, size = found
        anew = self._inode not in (0, inode) or size < self._offset
        if anew:
            self._offset = 0
        self._inode = inode
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read(_MOST_BYTES)
        except OSError:
            return anew, []
        end = content.rfind(b"\n") + 1
        if not end and len(content) > _LINE_BYTES:
            end = len(content)
        self._offset += end
        lines = content[:end].split(b"\n")
        return anew, [
            line.decode("utf-8", "replace") for line in lines if 0 < len(line) <= _LINE_BYTES
        ]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size


@dataclass(frozen=True, slots=True)
class Told:
    """A line of metrics.jsonl that is a step or an evaluation. None: it does not say."""

    kind: str
    step: int
    steps: int | None
    loss: float
    learning_rate: float | None
    accuracy: float | None
    parent_accuracy: float | None
    tokens_per_second: float | None
    seconds_left: float | None


def told(line: str) -> Told | None:
    """What a line of metrics.jsonl tells; None for another kind, and for one that cannot be read.

    Its messages are left out: they stand in what the trainer prints, too.
    """
    try:
        content = json.loads(line)
    except ValueError:
        return None
    if not isinstance(content, dict) or content.get("kind") not in ("step", "evaluation"):
        return None
    step, loss = _number(content, "step"), _number(content, "loss")
    if step is None or loss is None or step < 0:
        return None
    steps = _number(content, "steps")
    return Told(
        content["kind"], int(step), int(steps) if steps and steps > 0 else None, loss,
        *(
            _number(content, name)
            for name in (
                "learning_rate", "accuracy", "parent_accuracy", "tokens_per_second", "seconds_left"
            )
        ),
    )  # fmt: skip


def _number(content: dict[str, Any], name: str) -> float | None:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


class Printed:
    """Makes lines of a log out of what the trainer prints.

    Of a traceback its exception's name is kept: where it happened, and with which values, is in
    trainer.log alone.
    """

    def __init__(self) -> None:
        self._in_trace = False
        self.fault = ""  # the last error, which tells why it ended

    def lines(self, raw: list[str]) -> list[tuple[str, str]]:
        """Level and text of each."""
        found = (self._line(one.rstrip()) for one in raw)
        return [one for one in found if one is not None]

    def _line(self, text: str) -> tuple[str, str] | None:
        if text == _TRACE:
            self._in_trace = True
            return None
        if self._in_trace:
            if not text or text[0].isspace():
                return None
            self._in_trace = False
            text = f"error: {text.partition(':')[0]} (see the traceback in trainer.log)"
        text = "".join(one if one.isprintable() else " " for one in text).strip()
        if not text:
            return None
        head, colon, rest = text.partition(": ")
        level = _LEVELS.get(head, "info") if colon else "info"
        if level == "error":
            self.fault = rest
        return level, rest if head in ("warning", "error") and colon else text

"""What the person at the terminal sees: progress lines with timings, tables, and failures."""

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError

_LABEL_WIDTH = 34
_SHOWN_LOG_LINES = 12
_LEAST_COLUMN = 8
_WIDTH_OF_A_FILE = 120


@dataclass(slots=True)
class Step:
    """A step under way; `note` is printed with its result."""

    note: str = "done"


@contextmanager
def step(label: str) -> Iterator[Step]:
    """Print a line that says what is being done, and how it ended after how many seconds."""
    print(f"  {label:<{_LABEL_WIDTH}} ", end="", flush=True)
    started = time.monotonic()
    current = Step()
    try:
        yield current
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{current.note:<30} {time.monotonic() - started:5.1f} s", flush=True)


def say(text: str = "") -> None:
    """Print a line."""
    print(text, flush=True)


def report_failure(error: StackError) -> None:
    """Print what went wrong and the end of the log to read, to standard error."""
    print(f"\n{error}", file=sys.stderr)
    if error.log:
        print(f"Log: {error.log}", file=sys.stderr)
        for line in last_lines(error.log, _SHOWN_LOG_LINES):
            print(f"  | {line[: width() * 2]}", file=sys.stderr)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a text file; none if it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, count)]
    except OSError:
        return []


def width() -> int:
    """Columns of the terminal, or of a file that the output goes to."""
    return max(40, shutil.get_terminal_size(fallback=(_WIDTH_OF_A_FILE, 24)).columns)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, columns: int) -> list[str]:
    """Lines of an aligned table that is no wider than `columns`.

    The widest columns give way first; a text that does not fit ends in "..".
    """
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    gap = 2
    while sum(widths) + gap * (len(widths) - 1) > columns and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    rule = ["-" * size for size in widths]
    return [
        (" " * gap).join(_fit(text, size) for text, size in zip(row, widths, strict=True)).rstrip()
        for row in (headings, rule, *rows)
    ]


def _fit(text: str, size: int) -> str:
    return (text if len(text) <= size else text[: size - 2] + "..").ljust(size)

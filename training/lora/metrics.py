"""What a run tells while it goes: metrics.jsonl, one object a line, and lines on stderr."""

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from training.lora.checkpoint import write_file


class Metrics:
    """The metrics of a run. A silent one (`path` None) is for all processes but the first."""

    def __init__(self, path: Path | None, *, keep_to: int | None = None) -> None:
        """`keep_to`: go on after this step; lines of later ones are of steps that come again."""
        self._file: TextIO | None = None
        if path is None:
            return
        if keep_to is None:
            path.write_text("")
        elif path.exists():
            write_file(path, _kept(path, keep_to))
        self._file = path.open("a", encoding="utf-8")

    def step(self, **fields: Any) -> None:
        """Progress of the training."""
        self._write({"kind": "step", **fields})
        self._say(
            f"step {fields['step']}/{fields['steps']}  epoch {fields['epoch']:.2f}  "
            f"loss {fields['loss']:.4f}  {fields['tokens_per_second']:,.0f} tokens/s  "
            f"{spoken(fields['seconds_left'])} left"
        )

    def evaluation(self, **fields: Any) -> None:
        """What the held-out rows say."""
        self._write({"kind": "evaluation", **fields})
        self._say(
            f"step {fields['step']}: held-out loss {fields['loss']:.4f}, accuracy "
            f"{fields['accuracy']:.3f}, parent {fields['parent_accuracy']:.3f} "
            f"of {fields['rows']} rows"
        )

    def message(self, text: str, level: str = "info") -> None:
        """Something that a person should read."""
        self._write({"kind": "message", "level": level, "text": text})
        self._say(text if level == "info" else f"{level}: {text}")

    def close(self) -> None:
        """No more will come."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, fields: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(fields) + "\n")
            self._file.flush()

    def _say(self, text: str) -> None:
        if self._file is not None:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command's progress


def spoken(seconds: float) -> str:
    """A span of time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _kept(path: Path, last: int) -> bytes:
    """Whole lines of steps up to `last`; messages stay."""
    lines = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            if json.loads(line).get("step", 0) <= last:
                lines.append(line + "\n")
        except (ValueError, AttributeError):
            continue  # cut off by the kill
    return "".join(lines).encode()

"""A stand-in for the trainer's process: `python -m tests.training.stand_in train DATA --out RUN`.

It speaks the trainer's contract (metrics.jsonl, checkpoints, `cancel`, exit statuses) and computes
nothing: how processes are started, followed and ended is tested with it in little time.
play.json in the run's folder, or in the training folder, says how it behaves.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

DEFAULT: dict[str, Any] = {
    "steps": 6,
    "seconds": 0.05,  # of a step
    "status": 0,
    "says": "",  # on stderr, at the end
    "deaf": False,  # to `cancel` and to SIGTERM
    "kill_at": 0,  # step at which it kills itself
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    run: Path = options.out
    places = [one / "play.json" for one in (run, run.parent.parent)]
    play = DEFAULT | json.loads(next(one for one in places if one.exists()).read_text())
    (run / "seen.json").write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
    told = []
    signal.signal(signal.SIGTERM, signal.SIG_IGN if play["deaf"] else lambda *_: told.append(1))
    first = _resume(run) if options.resume else 0
    with (run / "metrics.jsonl").open("a") as metrics:
        for step in range(first + 1, play["steps"] + 1):
            time.sleep(play["seconds"])
            _tell(metrics, step, play["steps"])
            (run / "checkpoint").write_text(str(step))
            if step == play["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            if not play["deaf"] and (told or (run / "cancel").exists()):
                (run / "cancel").unlink(missing_ok=True)
                print("warning: Cancelled.", file=sys.stderr)
                return 4
    if play["says"]:
        print(play["says"], file=sys.stderr)
    return int(play["status"])


def _resume(run: Path) -> int:
    """As the trainer does: steps after the checkpoint go, in a file that is written anew."""
    checkpoint = run / "checkpoint"
    last = int(checkpoint.read_text()) if checkpoint.exists() else 0
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    kept = [line for line in lines if json.loads(line).get("step", 0) <= last]
    beside = run / "metrics.new"
    beside.write_text("".join(kept))
    beside.rename(metrics)
    return last


def _tell(metrics: Any, step: int, steps: int) -> None:
    line = {
        "kind": "step", "step": step, "steps": steps, "epoch": step / steps, "loss": 2 / step,
        "learning_rate": 1e-4, "tokens": 100 * step, "tokens_per_second": 2000.0, "seconds": step,
        "seconds_left": float(steps - step),
    }  # fmt: skip
    lines = [line]
    if step % 2 == 0:
        lines.append(
            {"kind": "evaluation", "step": step, "loss": 1 / step, "accuracy": step / (steps + 1),
             "parent_accuracy": 0.9}
        )  # fmt: skip
    lines.append({"kind": "message", "level": "info", "text": "in the log too"})
    metrics.write("".join(json.dumps(one) + "\n" for one in lines))
    metrics.flush()
    print(f"step {step}/{steps}  loss {2 / step:.4f}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""``train``: checks everything that can be checked beforehand, then trains in a run folder."""

import argparse
import json
import os
import platform
import random
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mapping.resolver.prompt import prompt_version
from mapping.worker.environment import prepare_environment
from mapping.worker.weights import Base
from training.lora import checkpoint, rows
from training.lora.profiles import Profile, profile, profiles
from training.lora.refusals import (
    CANCELLED,
    DONE,
    FAILED,
    REFUSED,
    Refused,
    Stopped,
    check_space,
)

RUN: Final = "run.json"
METRICS: Final = "metrics.jsonl"
_FORMAT: Final = 1
# What must be the same for a run to go on.
_SAME: Final = ("profile", "data_set", "base", "prompt", "processes")
_CARD_BYTES: Final = 4096
_FLOAT_BYTES: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``train``."""
    add_base_arguments(parser)
    add_profile_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on with what --out holds")


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """How is trained."""
    parser.add_argument(
        "--profile", default="smollm2", help="a name of `profiles`, or a .yaml file"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")


def add_base_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read: data and base model."""
    parser.add_argument("data", type=Path, help="a data set folder, with manifest.json")
    parser.add_argument(
        "--base", required=True,
        help="folder or .gguf file of the base model, or `packaged`: the one that ships",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "pillars",
        help="where a converted base model is kept",
    )  # fmt: skip


def show_profiles() -> int:
    """Print every profile's name, and what it is for."""
    for one in profiles():
        print(f"{one.name:16} {one.description}")  # noqa: T201 - a command line
    return DONE


def train(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    return refusing(_train, options)


def refusing(step: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """A step's exit status; what it refuses is told on stderr."""
    try:
        return step(options)
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)  # noqa: T201
        return REFUSED
    except Stopped as error:
        print(f"stopped: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except ImportError as error:
        print(  # noqa: T201
            f"refused: the package {error.name} is not installed: pip install 'pillars[model]'.",
            file=sys.stderr,
        )
        return REFUSED


def _train(options: argparse.Namespace) -> int:
    chosen = profile(options.profile, options.changes)
    data = rows.read(options.data)
    _prepare(chosen)
    from training.lora import base as bases

    found = bases.find(options.base, options.cache)
    config = bases.config_of(found)
    from training.lora.tokens import tokenizer_of

    tokenizer = tokenizer_of(found.folder, int(config.vocab_size))
    samples = _samples(tokenizer, data, chosen)
    from accelerate import Accelerator
    from torch import cuda

    accelerator = Accelerator(cpu=not cuda.is_available())
    identity = _identity(chosen, data, found, accelerator.num_processes)
    run = _open_run(options, identity, accelerator)
    if run is None:
        return DONE
    if accelerator.is_main_process:
        _check_room(options.out, bases.adapter_parameters(config, chosen.rank))
    model = bases.with_adapter(bases.load(found, chosen, accelerator.device), chosen)
    model.peft_config["default"].base_model_name_or_path = found.name
    return _follow(options, chosen, run, accelerator, model, tokenizer, samples)


def _prepare(chosen: Profile) -> None:
    """What must be set before torch and transformers are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if chosen.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    prepare_environment()
    import torch
    from transformers.utils.logging import set_verbosity_error

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    set_verbosity_error()
    torch.use_deterministic_algorithms(chosen.deterministic, warn_only=True)


def _samples(
    tokenizer: Any, data: rows.DataSet, chosen: Profile
) -> tuple[list[Any], list[list[int]], Any]:
    from training.lora.tokens import encode
    from training.lora.trainer import Held

    kept = _some(data.train, chosen.max_rows, chosen.seed)
    held = _some(data.validation, chosen.evaluation_rows, chosen.seed)
    train = encode(tokenizer, kept, chosen.max_length)
    return train, rows.variations(kept), Held(held, encode(tokenizer, held, chosen.max_length))


def _some(found: Sequence[rows.Row], most: int, seed: int) -> list[rows.Row]:
    """All, or as many as asked for, chosen by the seed; in their order."""
    if not most or most >= len(found):
        return list(found)
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    return [found[number] for number in sorted(chance.sample(range(len(found)), most))]


def _identity(chosen: Profile, data: rows.DataSet, base: Base, processes: int) -> dict[str, Any]:
    return {
        "profile": chosen.model_dump(),
        "data_set": data.digest,
        "data_set_name": data.name,
        "edition": data.edition,
        "rows": {"train": len(data.train), "validation": len(data.validation)},
        "base": {"name": base.name, "sha256": base.sha256},
        "prompt": prompt_version(),
        "seed": chosen.seed,
        "processes": processes,
    }


def _open_run(
    options: argparse.Namespace, identity: dict[str, Any], accelerator: Any
) -> dict[str, Any] | None:
    """The content of run.json; None if there is nothing left to do. Raises Refused."""
    path: Path = options.out / RUN
    before = _read_run(path)
    # All processes must have looked before one writes.
    accelerator.wait_for_everyone()
    if before is None:
        return {
            "format": _FORMAT, **identity, "command": _command(options),
            "environment": _environment(accelerator), "started": _now(), "ended": None,
            "outcome": "running", "resumed": [],
        }  # fmt: skip
    if not options.resume:
        raise Refused(
            f"{options.out} holds a run already: go on with --resume, or name another folder."
        )
    other = [name for name in _SAME if before.get(name) != identity[name]]
    if other:
        raise Refused(
            f"The run in {options.out} was begun with another {' and another '.join(other)}"
            f"{_differences(before, identity)}: give the same, or name another folder."
        )
    if before["outcome"] in ("done", "stopped_early"):
        print("The run is done: there is nothing left to train.", file=sys.stderr)  # noqa: T201
        return None
    resumed = [*before["resumed"], _now()]
    return {**before, "outcome": "running", "ended": None, "resumed": resumed}


def _read_run(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
        return content if isinstance(content, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}. Name another folder.") from None


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    old, new = before.get("profile") or {}, now["profile"]
    fields = [name for name in new if old.get(name) != new[name]]
    return (
        f" ({', '.join(f'{one}: {old.get(one)}, now {new[one]}' for one in fields)})"
        if fields
        else ""
    )


def _check_room(folder: Path, parameters: int) -> None:
    """Adapter and two moments a checkpoint; two, the best and one on its way; adapter/ twice."""
    folder.mkdir(parents=True, exist_ok=True)
    adapter = parameters * _FLOAT_BYTES + _CARD_BYTES
    check_space(folder, adapter * (3 * (checkpoint.KEPT + 2) + 2))


def _follow(
    options: argparse.Namespace, chosen: Profile, run: dict[str, Any], accelerator: Any,
    model: Any, tokenizer: Any, samples: tuple[list[Any], list[list[int]], Any],
) -> int:  # fmt: skip
    """Train, and keep run.json true whatever happens."""
    from training.lora.metrics import Metrics
    from training.lora.tokens import filler_token
    from training.lora.trainer import CHECKPOINTS, Trainer

    folder: Path = options.out
    main = accelerator.is_main_process
    faults: list[str] = []
    found = checkpoint.newest(folder / CHECKPOINTS, faults.append) if options.resume else None
    keep_to = (found.step if found else -1) if options.resume else None
    metrics = Metrics(folder / METRICS if main else None, keep_to=keep_to)
    begun = time.monotonic()
    outcome = "failed"
    try:
        _write_run(folder, run, main)
        trainer = Trainer(
            folder, profile=chosen, model=model, accelerator=accelerator,
            filler=filler_token(tokenizer), train=samples[0], variations=samples[1],
            held=samples[2], metrics=metrics, card=lambda: run,
        )  # fmt: skip
        for fault in faults:
            metrics.message(fault, "warning")
        if found is not None:
            trainer.restore(found)
            metrics.message(f"Resumed after step {found.step}.")
        elif options.resume:
            metrics.message("There was no checkpoint: begun anew.", "warning")
        metrics.message(_about(trainer, samples))
        outcome = trainer.run()
    except Stopped as error:
        _tell(metrics, str(error))
        raise
    finally:
        run |= {
            "outcome": outcome, "ended": _now(),
            "seconds": round(run.get("seconds", 0) + time.monotonic() - begun, 1),
        }  # fmt: skip
        metrics.close()
        _write_run(folder, run, main, quiet=outcome == "failed")
    trainer.publish()
    return CANCELLED if outcome == "cancelled" else DONE


def _tell(metrics: Any, text: str) -> None:
    try:
        metrics.message(text, "error")
    except OSError:
        print(f"error: {text}", file=sys.stderr)  # noqa: T201 - the disk is full


def _write_run(folder: Path, run: dict[str, Any], main: bool, *, quiet: bool = False) -> None:
    if not main:
        return
    try:
        checkpoint.write_file(folder / RUN, json.dumps(run, indent=2).encode())
    except (OSError, Stopped):
        if not quiet:  # what made it fail has been told
            raise


def _about(trainer: Any, samples: tuple[list[Any], list[list[int]], Any]) -> str:
    stepper = trainer.stepper
    return (
        f"{len(samples[0])} rows ({len(samples[1])} an epoch), {len(trainer.plan)} steps, "
        f"{sum(one.numel() for one in stepper.weights):,} trained weights on {stepper.device} "
        f"({trainer.processes} processes), {stepper.attention} attention, layers "
        f"{'compiled' if stepper.compiled else 'not compiled'}, activations "
        f"{'computed again' if trainer.recomputes else 'kept'}."
    )


def _command(options: argparse.Namespace) -> list[str]:
    """What was asked for, by names: paths are this machine's."""
    words = ["python", "-m", "training.lora", "train", options.data.name]
    words += ["--base", Path(options.base).name, "--profile", Path(options.profile).name]
    return [*words, *(word for change in options.changes for word in ("--set", change))]


def _environment(accelerator: Any) -> dict[str, Any]:
    import accelerate
    import peft
    import torch
    import transformers

    device = accelerator.device
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "accelerate": accelerate.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""`python -m deploy.vllm --model DIR --adapters DIR`: start vLLM as Pillars needs it.

Composes vLLM's command line and environment, checks what can be checked beforehand, and becomes
vLLM. `--print` shows the command instead. The key is taken from PILLARS_INFERENCE_API_KEY. Needs
vLLM in this environment and nothing of Pillars besides. Exit status 3: it cannot be started so.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

_CANNOT: Final = 3
_RANK: Final = 16  # of an adapter that states none
# vLLM knows these ranks alone.
_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# How a checkpoint says that its weights are 4-bit integers already.
_FOUR_BITS: Final = ("awq", "awq_marlin", "gptq", "gptq_marlin", "compressed-tensors")


class RefusedError(Exception):
    """vLLM cannot be started like this. The message says what to do."""


def main() -> None:
    """Compose; print or start."""
    options = parser().parse_args()
    try:
        command, environment = compose(options, os.environ.get("PILLARS_INFERENCE_API_KEY", ""))
    except RefusedError as error:
        print(error, file=sys.stderr)
        sys.exit(_CANNOT)
    if options.print:
        show(command, environment)
        return
    start(command, environment)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m deploy.vllm", description=__doc__)
    made.add_argument("--model", type=Path, required=True, help="folder of the base model")
    made.add_argument(
        "--name", help="what it is called (`inference.model`); else the folder's name"
    )
    made.add_argument("--adapters", type=Path, help="folder of adapters (`inference.adapters`)")
    made.add_argument(
        "--quantization",
        choices=("none", "fp8", "awq"),
        default="none",
        help="fp8: weights and activations in 8 bits, made while loading (Ada, Hopper and later); "
        "awq: a folder whose weights are 4-bit integers already",
    )
    made.add_argument("--port", type=int, default=8000)
    made.add_argument("--gpus", type=int, default=1, help="over which the model is split")
    made.add_argument("--at-once", type=int, default=64, help="questions that are read together")
    made.add_argument("--length", type=int, default=2048, help="longest prompt in tokens")
    made.add_argument("--print", action="store_true", help="show the command, start nothing")
    return made


def compose(options: argparse.Namespace, key: str) -> tuple[list[str], dict[str, str]]:
    """vLLM's command line and what must be set in its environment. Raises RefusedError."""
    config = _config(options.model)
    quantization = _quantization(options.quantization, config, options.model)
    name = options.name or options.model.resolve().name
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(options.model), "--served-model-name", name,
        # The address of the loopback alone: adapters are loaded by whoever reaches this port.
        "--host", "127.0.0.1", "--port", str(options.port),
        "--tensor-parallel-size", str(options.gpus),
        "--max-model-len", str(options.length), "--max-num-seqs", str(options.at_once),
        "--enable-prefix-caching", "--dtype", "bfloat16", "--generation-config", "vllm",
        "--logprobs-mode", "raw_logprobs", "--max-logprobs", "128",
        *quantization,
    ]  # fmt: skip
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if options.adapters:
        command += _adapters(options.adapters, name)
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if key:
        environment["VLLM_API_KEY"] = key  # not on the command line, which others can read
    return command, environment


def show(command: list[str], environment: dict[str, str]) -> None:
    """The command as a shell takes it, without the key."""
    told = {**environment, **({"VLLM_API_KEY": "..."} if "VLLM_API_KEY" in environment else {})}
    settings = [f"{name}={value}" for name, value in sorted(told.items())]
    print(" ".join([*settings, shlex.join(command)]))


def start(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Become vLLM."""
    os.execve(command[0], command, {**os.environ, **environment})  # noqa: S606 - on purpose


def _config(model: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((model / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise RefusedError(
            f"{model} holds no model: config.json is missing or no JSON. Name the folder that "
            "transformers can load."
        ) from None
    return found


def _quantization(wanted: str, config: dict[str, Any], model: Path) -> list[str]:
    """vLLM sees for itself which 4-bit format a folder has: no flag may contradict it."""
    has = str((config.get("quantization_config") or {}).get("quant_method", ""))
    if wanted == "fp8":
        if has and has != "fp8":
            raise RefusedError(f"{model} is in {has} already: start it with --quantization awq.")
        return ["--quantization", "fp8"]
    if wanted == "awq" and has not in _FOUR_BITS:
        raise RefusedError(
            f"{model} is not in 4 bits ({has or 'no quantization_config in its config.json'}). "
            "Make such a folder first: docs/inference.md says how."
        )
    if wanted == "none" and has:
        raise RefusedError(f"{model} is in {has}: say so with --quantization.")
    return []


def _adapters(folder: Path, base: str) -> list[str]:
    if not folder.is_dir():
        raise RefusedError(f"{folder}: there is no such folder. Make it; it may be empty.")
    modules, ranks = [], [_RANK]
    for config in sorted(folder.glob("*/adapter_config.json")):
        try:
            ranks.append(int(json.loads(config.read_text("utf-8"))["r"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise RefusedError(f"{config} states no rank: take the adapter away.") from None
        place = config.parent
        modules.append(
            json.dumps({"name": place.name, "path": str(place), "base_model_name": base})
        )
    highest = max(ranks)
    if highest > _RANKS[-1]:
        raise RefusedError(f"An adapter has rank {highest}: vLLM serves up to {_RANKS[-1]}.")
    rank = next(one for one in _RANKS if one >= highest)
    flags = [
        "--enable-lora",
        "--max-lora-rank",
        str(rank),
        "--max-loras",
        "3",
    ]  # live, before, trial
    return [*flags, "--lora-modules", *modules] if modules else flags


if __name__ == "__main__":
    main()
